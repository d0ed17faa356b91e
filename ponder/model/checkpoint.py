"""A checkpoint is an ordinary Hugging Face directory, plus ``ponder.json``; this is its only reader and writer.

A directory without that file is read as well: its model thinks between think tags, in its own tokens and by its own
chat template. What our network does not compute runs by its own forward in transformers.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ponder.errors import CheckpointError, ConfigError
from ponder.model.chat import Chat
from ponder.model.foreign import Foreign, load_foreign
from ponder.model.heads import Head
from ponder.model.hugging_face import NotOurs, config_of, join, shape_of, split
from ponder.model.network import Network
from ponder.model.saving import saving
from ponder.model.sizes import Shape
from ponder.text import format
from ponder.text.effort import Plan
from ponder.text.foreign import ForeignTokenizer, load_foreign_tokenizer
from ponder.text.tokenizer import PonderTokenizer, load_tokenizer, read_tokenizer
from ponder.types import Effort

PONDER_FILE, CONFIG_FILE, WEIGHTS_FILE = "ponder.json", "config.json", "model.safetensors"
INDEX_FILE, HEADS_FILE = "model.safetensors.index.json", "heads.safetensors"
TEMPLATE_FILE, TOKENIZER_CONFIG_FILE = "chat_template.jinja", "tokenizer_config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
LONGEST = 16_384
"""Tokens that a model without ``ponder.json`` reads at most, twice what the highest effort thinks: all take memory."""


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
    efforts: Mapping[Effort, Plan] = pydantic.Field(default_factory=dict[Effort, Plan])
    """How this model spends an effort, found by measurement; an effort that is missing is one chain."""
    auto: Mapping[Effort, pydantic.FiniteFloat] = pydantic.Field(default_factory=dict[Effort, float])
    """The efforts that ``auto`` may choose, each with the least value at its token that it is enough with."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its tokenizer and settings."""

    network: Network | Foreign
    tokenizer: PonderTokenizer | ForeignTokenizer
    config: PonderConfig
    head: Head | None = None
    """What rates blocks, once it has been trained."""
    chat: Chat | None = None
    """How its model reads a conversation, where that is not Ponder's way."""
    notes: tuple[str, ...] = ()
    """What whoever uses it should be told: a slower path, a shorter window."""

    def to(self, device: str, dtype: torch.dtype | None = None) -> "Checkpoint":
        """Moves network and head to a device, the network's weights to a dtype, too, where one is given; returns
        itself."""
        self.network.to(device, dtype)
        if self.head:
            self.head.to(device)
        return self

    def own(self) -> tuple[Network, PonderTokenizer]:
        """Network and tokenizer of a checkpoint that can be trained; raises ConfigError for any other."""
        if not isinstance(self.network, Network) or not isinstance(self.tokenizer, PonderTokenizer):
            raise ConfigError(
                f"{self.config.name} was not made for thinking in blocks, so it can think but not be trained: "
                "begin from nothing, or from a checkpoint that ponder train wrote"
            )
        return self.network, self.tokenizer


def save_checkpoint(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the whole directory beside its place and move it there at once; an old one is replaced."""
    checkpoint.own()
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with saving(folder, part):
        part.mkdir(parents=True)
        _write(checkpoint, part, dtype)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)


def _write(checkpoint: Checkpoint, part: Path, dtype: torch.dtype) -> None:
    network, tokenizer = checkpoint.own()
    names = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
    shape, special = network.shape, tokenizer.special
    ends = {
        "eos_token_id": special[format.BLOCKS.marker[format.Mark.END].text],
        "pad_token_id": special[format.PAD.text],
    }
    config = config_of(shape) | ends | {"dtype": names[dtype]}
    (part / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (part / PONDER_FILE).write_text(_written(checkpoint.config), encoding="utf-8")
    tokenizer.save(part)
    weights = split(network.state_dict(), shape)
    weights = {name: value.detach().to(dtype).contiguous() for name, value in weights.items()}
    save_file(weights, str(part / WEIGHTS_FILE), metadata={"format": "pt"})
    if checkpoint.head:
        save_file(checkpoint.head.state_dict(), str(part / HEADS_FILE))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint directory; what is missing or damaged is said with the file's name."""
    if not folder.is_dir():
        raise CheckpointError(f"no model directory {str(folder)!r}: give --model a folder that ponder train wrote")
    config, settings = _read_config(folder), _read_json(folder / CONFIG_FILE)
    folds = config.dialect == format.BLOCKS.name
    tokenizer = load_tokenizer(folder) if folds else load_foreign_tokenizer(folder, _ends(folder, settings))
    network, notes = _read_network(folder, settings, tokenizer.size, folds)
    chat = Chat(folder, tokenizer, _has_template(folder)) if isinstance(tokenizer, ForeignTokenizer) else None
    return Checkpoint(network, tokenizer, config, _read_head(folder, network.shape.hidden_size), chat, notes)


def write_config(folder: Path, config: PonderConfig) -> None:
    """Replace what ``ponder.json`` says; the weights stay."""
    part = folder / (PONDER_FILE + ".part")
    with saving(folder / PONDER_FILE, part):
        part.write_text(_written(config), encoding="utf-8")
        os.replace(part, folder / PONDER_FILE)


def _written(config: PonderConfig) -> str:
    """The text of ``ponder.json``; what nobody has set is left out."""
    told = config.model_dump(mode="json")
    for name in ("efforts", "auto"):
        if not told[name]:
            del told[name]
    for plan in told.get("efforts", {}).values():
        for name in [name for name, value in plan.items() if value is None]:
            del plan[name]
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def digest(folder: Path) -> str:
    """What tells a directory's weights, heads and tokenizer from all others, as a few hexadecimal digits."""
    found = hashlib.blake2b(digest_size=8)
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer.json")]):
        found.update(path.name.encode())
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "blake2b").digest())
    return found.hexdigest()


def _read_config(folder: Path) -> PonderConfig:
    """What ``ponder.json`` says, or what holds where there is none."""
    path = folder / PONDER_FILE
    if not path.exists() and (folder / CONFIG_FILE).exists():
        raw = read_tokenizer(folder)
        if any(raw.token_to_id(text) is None for text in format.SPECIALS):
            return PonderConfig(name=folder.resolve().name, dialect=format.THINK_TAGS.name)
    try:
        config = PonderConfig.model_validate(_read_json(path))
    except pydantic.ValidationError as err:
        first = err.errors()[0]
        raise CheckpointError(f"{path} does not fit: {'.'.join(map(str, first['loc']))}: {first['msg']}") from err
    if config.dialect not in format.DIALECTS:
        known = ", ".join(format.DIALECTS)
        raise CheckpointError(f"{path} does not fit: dialect {config.dialect!r} is unknown, there are {known}")
    return config


def _read_network(
    folder: Path, settings: dict[str, Any], known: int, folds: bool
) -> tuple[Network | Foreign, tuple[str, ...]]:
    """The network for a tokenizer of `known` tokens, by our own code where it can be, and what is to be said of it."""
    try:
        shape = shape_of(settings, folder / CONFIG_FILE)
    except NotOurs as ours:
        try:
            network, notes = load_foreign(folder)
        except CheckpointError as theirs:
            raise CheckpointError(f"{ours}; and it does not run through transformers: {theirs}") from theirs
        _check_entries(folder, network.shape.vocab_size, known, folds)
    else:
        _check_entries(folder, shape.vocab_size, known, folds)
        network, notes = _read_own(folder, shape), ()
    if not folds and network.shape.max_position_embeddings > LONGEST:
        notes += (f"it reads at most {LONGEST:,} of {network.shape.max_position_embeddings:,} tokens here",)
        network.shape = replace(network.shape, max_position_embeddings=LONGEST)  # type: ignore[assignment]
    return network, notes


def _check_entries(folder: Path, entries: int, known: int, folds: bool) -> None:
    if entries < known or (folds and entries != known):  # other people's embeddings are often rounded up
        raise CheckpointError(f"{folder}: the network knows {entries} tokens, the tokenizer {known}")


def _read_own(folder: Path, shape: Shape) -> Network:
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
    return network.eval()


def _ends(folder: Path, settings: dict[str, Any]) -> frozenset[int]:
    """The tokens that end a turn, by the directory's settings."""
    path = folder / GENERATION_CONFIG_FILE
    text = settings.get("text_config")
    sources = (settings, text if isinstance(text, dict) else {}, _read_json(path) if path.exists() else {})
    found = [source.get("eos_token_id") for source in sources]
    ids = [id_ for value in found for id_ in (value if isinstance(value, list) else [value])]
    return frozenset(id_ for id_ in ids if isinstance(id_, int))


def _has_template(folder: Path) -> bool:
    path = folder / TOKENIZER_CONFIG_FILE
    return (folder / TEMPLATE_FILE).is_file() or (path.exists() and bool(_read_json(path).get("chat_template")))


def _read_head(folder: Path, hidden: int) -> Head | None:
    path = folder / HEADS_FILE
    if not path.exists():
        return None
    head = Head(hidden)
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
        raise CheckpointError(f"{path} is missing: {path.parent} is not a model directory") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise CheckpointError(f"{path} is damaged ({err})") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged (not a JSON object)")
    return value
