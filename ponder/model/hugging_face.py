"""Between a Hugging Face directory's names and ours: its ``config.json`` and a Shape, its weights and a Network's."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ponder.errors import CheckpointError
from ponder.model.rope import TYPES, Rope
from ponder.model.sizes import ARCHITECTURES, Shape

CLASSES = {"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Our products to theirs, whose weights lie below one another in ours."""
_ROPE = {"theta": "rope_theta", "type": "rope_type", "original": "original_max_position_embeddings"}
_REFUSED = {"attention_bias": False, "mlp_bias": False, "use_sliding_window": False, "hidden_act": "silu"}
"""Settings that we do not compute, with the value at which they change nothing."""
_REFUSED_ROPE = {"mscale": None, "mscale_all_dim": None, "truncate": True}


class NotOurs(CheckpointError):
    """A sound model that our own network does not compute."""


# --- the config ----------------------------------------------------------------------------------------------------


def config_of(shape: Shape) -> dict[str, Any]:
    """What ``config.json`` says of a shape."""
    values = asdict(shape)
    rope = values.pop("rope")
    kept = ("theta", "type") if shape.rope.type == "default" else tuple(rope)
    named = {_ROPE.get(name, name): rope[name] for name in kept if rope[name] or name != "attention_factor"}
    return {
        "architectures": [CLASSES[shape.model_type]],
        **values,
        "rope_parameters": named,
        "rope_theta": shape.rope.theta,
        "hidden_act": "silu",
        "attention_bias": False,
    }


def shape_of(config: Mapping[str, Any], path: Path) -> Shape:
    """The shape that a ``config.json`` describes; raises NotOurs for what we cannot compute."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        known = ", ".join(map(repr, ARCHITECTURES))
        raise NotOurs(f"{path}: model_type {kind!r} is not supported, only {known} are")
    for name, harmless in _REFUSED.items():
        if config.get(name, harmless) != harmless:
            raise NotOurs(f"{path}: {name}={config[name]!r} is not supported, only {harmless!r} is")
    given = dict(config)
    if "head_dim" not in given and given.get("num_attention_heads"):
        given["head_dim"] = _whole(given, "hidden_size", path) // _whole(given, "num_attention_heads", path)
    named = {"rope", "model_type", "tie_word_embeddings"}
    sizes = [field for field in fields(Shape) if field.name not in named]
    if missing := [field.name for field in sizes if field.name not in given]:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    whole = {field.name: _whole(given, field.name, path) for field in sizes if field.name != "rms_norm_eps"}
    return Shape(
        **whole,
        rms_norm_eps=_positive(given, "rms_norm_eps", path),
        rope=_rope(given, path),
        model_type=kind,
        tie_word_embeddings=bool(given.get("tie_word_embeddings", False)),
    )


def _rope(config: Mapping[str, Any], path: Path) -> Rope:
    """From ``rope_parameters``, or the ``rope_theta`` and ``rope_scaling`` of older configs."""
    found: dict[str, Any] = {"rope_theta": config.get("rope_theta", 10_000.0)}
    for name in ("rope_scaling", "rope_parameters"):
        part = config.get(name) or {}
        if not isinstance(part, dict):
            raise CheckpointError(f"{path} holds {name}={part!r:.60}, which is no object")
        found |= part
    for name, harmless in _REFUSED_ROPE.items():
        if found.get(name, harmless) != harmless:
            raise NotOurs(f"{path}: {name}={found[name]!r:.60} of its RoPE is not supported")
    kind = found.get("rope_type", found.get("type", "default"))
    if kind not in TYPES:
        raise NotOurs(f"{path}: rope_type {kind!r} is not supported, only {', '.join(TYPES)} are")
    if kind in ("llama3", "yarn"):
        found.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
    names = {field.name: _ROPE.get(field.name, field.name) for field in fields(Rope) if field.name != "type"}
    values = {ours: _positive(found, theirs, path) for ours, theirs in names.items() if found.get(theirs) is not None}
    original = int(values.pop("original", 0))
    return Rope(type=str(kind), original=original, **values)


def _positive(config: Mapping[str, Any], name: str, path: Path) -> float:
    value = config[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e9:
        raise CheckpointError(f"{path} holds {name}={value!r}, which is no size")
    return value


def _whole(config: Mapping[str, Any], name: str, path: Path) -> int:
    value = _positive(config, name, path)
    if not isinstance(value, int):
        raise CheckpointError(f"{path} holds {name}={value!r}, which is no size")
    return value


# --- the weights ---------------------------------------------------------------------------------------------------


def _rows(shape: Shape, ours: str) -> list[int]:
    """How many rows of a joined weight belong to each of its parts."""
    if ours == "gate_up_proj":
        return [shape.intermediate_size] * 2
    heads, kv = shape.num_attention_heads, shape.num_key_value_heads
    return [count * shape.head_dim for count in (heads, kv, kv)]


def split(weights: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Our weights under their names."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        ours = next((ours for ours in JOINED if f".{ours}." in name), None)
        if ours is None:
            found[name] = value
            continue
        for theirs, part in zip(JOINED[ours], value.split(_rows(shape, ours)), strict=True):
            found[name.replace(ours, theirs)] = part
    return found


def join(weights: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Their weights under our names; raises RuntimeError where a part is missing or has another size."""
    found, left = dict[str, Tensor](), dict(weights)
    if shape.tie_word_embeddings:  # some checkpoints hold the tied weight twice
        head, embedding = left.pop("lm_head.weight", None), weights.get("model.embed_tokens.weight")
        if head is not None and embedding is not None and not torch.equal(head, embedding):
            raise RuntimeError("lm_head.weight is not the embedding, though the config ties them")
    beyond = f"model.layers.{shape.num_hidden_layers - 1}."
    if not any(name.startswith(beyond) for name in weights):
        raise RuntimeError(f"no weights of layer {shape.num_hidden_layers - 1}")
    for name in weights:
        for ours, (first, *others) in JOINED.items():
            if f".{first}." not in name:
                continue
            parts = [left.pop(name), *(left.pop(name.replace(first, other), None) for other in others)]
            sizes = [None if part is None else len(part) for part in parts]
            if sizes != _rows(shape, ours):
                raise RuntimeError(f"{name} and its like have {sizes} rows, not {_rows(shape, ours)}")
            found[name.replace(first, ours)] = torch.cat([part for part in parts if part is not None])
    return found | left
