"""A checkpoint is an ordinary Hugging Face directory, plus ``ponder.json``; this is its only reader and writer."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ponder.errors import CheckpointError
from ponder.model.network import Network
from ponder.model.sizes import Shape
from ponder.text import format
from ponder.text.tokenizer import PonderTokenizer, load_tokenizer

PONDER_FILE, CONFIG_FILE, WEIGHTS_FILE = "ponder.json", "config.json", "model.safetensors"


class PonderConfig(pydantic.BaseModel):
    """What Ponder knows of a checkpoint beyond its weights."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str
    dialect: str = "blocks"
    fold_window: int | None = None
    """How many folded blocks stay in the context; null for all."""
    tasks: tuple[str, ...] = ()
    """The tasks it was taught, as task:level."""
    style: str = "thinking"
    """`thinking`, or `direct` for a baseline that only answers."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its tokenizer and settings."""

    network: Network
    tokenizer: PonderTokenizer
    config: PonderConfig


def save_checkpoint(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the whole directory beside its place and move it there at once; an old one is replaced."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    names = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
    config = _hf_config(checkpoint.network.shape, checkpoint.tokenizer) | {"dtype": names[dtype]}
    (part / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (part / PONDER_FILE).write_text(checkpoint.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    checkpoint.tokenizer.save(part)
    weights = {name: value.detach().to(dtype).contiguous() for name, value in checkpoint.network.state_dict().items()}
    save_file(weights, str(part / WEIGHTS_FILE), metadata={"format": "pt"})
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint directory; what is missing or damaged is said with the file's name."""
    if not folder.is_dir():
        raise CheckpointError(f"no model directory {str(folder)!r}: give --model a folder that ponder train wrote")
    settings = _read_json(folder / PONDER_FILE)
    try:
        config = PonderConfig.model_validate(settings)
    except pydantic.ValidationError as err:
        raise CheckpointError(f"{folder / PONDER_FILE} does not fit: {err.errors()[0]['msg']}") from err
    tokenizer = load_tokenizer(folder)
    shape = _shape(_read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
    if shape.vocab_size != tokenizer.size:
        raise CheckpointError(f"{folder}: the network knows {shape.vocab_size} tokens, the tokenizer {tokenizer.size}")
    path = folder / WEIGHTS_FILE
    try:
        weights = {name: value.float() for name, value in load_file(str(path)).items()}
        with torch.device("meta"):  # nothing is allocated for sizes that the weights do not have
            network = Network(shape)
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, OSError, RuntimeError) as err:
        reason = str(err).splitlines()[0]
        raise CheckpointError(f"{path} is missing or damaged ({reason}): fetch or train it again") from err
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise CheckpointError(f"{path} holds weights that are not finite: train it again")
    return Checkpoint(network.eval(), tokenizer, config)


def _hf_config(shape: Shape, tokenizer: PonderTokenizer) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **asdict(shape),
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "eos_token_id": tokenizer.special[format.BLOCKS.marker[format.Mark.END].text],
        "pad_token_id": tokenizer.special[format.PAD.text],
    }


def _shape(config: Mapping[str, Any], path: Path) -> Shape:
    if config.get("model_type") != "qwen3":
        raise CheckpointError(f"{path}: model_type {config.get('model_type')!r} is not supported, only 'qwen3' is")
    missing = [field.name for field in fields(Shape) if field.name not in config]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    values = {field.name: config[field.name] for field in fields(Shape)}
    whole = {field.name for field in fields(Shape) if field.type in (int, "int")}
    for name, value in values.items():
        kinds = int if name in whole else int | float
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < 10**6:
            raise CheckpointError(f"{path} holds {name}={value!r}, which is no size")
    return Shape(**values)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: {path.parent} is not a Ponder checkpoint") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise CheckpointError(f"{path} is damaged ({err})") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged (not a JSON object)")
    return value
