"""A checkpoint is an ordinary Hugging Face directory, plus ``ponder.json``; this is its only reader and writer."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ponder.errors import CheckpointError
from ponder.model.heads import Head
from ponder.model.hugging_face import config_of, join, shape_of, split
from ponder.model.network import Network
from ponder.model.sizes import Shape
from ponder.text import format
from ponder.text.tokenizer import PonderTokenizer, load_tokenizer

PONDER_FILE, CONFIG_FILE, WEIGHTS_FILE = "ponder.json", "config.json", "model.safetensors"
INDEX_FILE, HEADS_FILE = "model.safetensors.index.json", "heads.safetensors"


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
    head: Head | None = None
    """What rates blocks, once it has been trained."""

    def to(self, device: str) -> "Checkpoint":
        """Moves network and head to a device; returns itself."""
        self.network.to(device)
        if self.head:
            self.head.to(device)
        return self


def save_checkpoint(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the whole directory beside its place and move it there at once; an old one is replaced."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    names = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
    shape, special = checkpoint.network.shape, checkpoint.tokenizer.special
    ends = {
        "eos_token_id": special[format.BLOCKS.marker[format.Mark.END].text],
        "pad_token_id": special[format.PAD.text],
    }
    config = config_of(shape) | ends | {"dtype": names[dtype]}
    (part / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (part / PONDER_FILE).write_text(checkpoint.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    checkpoint.tokenizer.save(part)
    weights = split(checkpoint.network.state_dict(), shape)
    weights = {name: value.detach().to(dtype).contiguous() for name, value in weights.items()}
    save_file(weights, str(part / WEIGHTS_FILE), metadata={"format": "pt"})
    if checkpoint.head:
        save_file(checkpoint.head.state_dict(), str(part / HEADS_FILE))
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
    shape = shape_of(_read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
    if shape.vocab_size != tokenizer.size:
        raise CheckpointError(f"{folder}: the network knows {shape.vocab_size} tokens, the tokenizer {tokenizer.size}")
    path = folder / WEIGHTS_FILE
    try:
        weights = _read_weights(folder, shape)
        with torch.device("meta"):  # nothing is allocated for sizes that the weights do not have
            network = Network(shape)
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, OSError, RuntimeError) as err:
        reason = str(err).splitlines()[0]
        raise CheckpointError(f"{path} is missing or damaged ({reason}): fetch or train it again") from err
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise CheckpointError(f"{path} holds weights that are not finite: train it again")
    return Checkpoint(network.eval(), tokenizer, config, _read_head(folder, shape))


def _read_head(folder: Path, shape: Shape) -> Head | None:
    path = folder / HEADS_FILE
    if not path.exists():
        return None
    head = Head(shape.hidden_size)
    try:
        head.load_state_dict(load_file(str(path)))
    except (SafetensorError, OSError, RuntimeError) as err:
        raise CheckpointError(f"{path} is damaged ({str(err).splitlines()[0]}): fetch or train it again") from err
    if not all(bool(value.isfinite().all()) for value in head.state_dict().values()):
        raise CheckpointError(f"{path} holds weights that are not finite: train it again")
    return head.eval()


def _read_weights(folder: Path, shape: Shape) -> dict[str, Tensor]:
    """The weights under our names, in float32, from one file or from the shards that an index names."""
    index = folder / INDEX_FILE
    named: Any = _read_json(index).get("weight_map") if index.exists() else {"": WEIGHTS_FILE}
    files: list[Any] = list(named.values()) if isinstance(named, dict) else []
    if not files or not all(isinstance(file, str) and Path(file).name == file for file in files):
        raise CheckpointError(f"{index} does not name the files of the weights, in its own folder")
    weights = {name: value for file in sorted(set(files)) for name, value in load_file(str(folder / file)).items()}
    return {name: value.float() for name, value in join(weights, shape).items()}


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
