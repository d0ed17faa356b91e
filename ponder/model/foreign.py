"""Any other causal language model of transformers, computed by its own forward.

Its attention is handed to an `Attend` through transformers' attention interface, so that caches, branches and batches
are the engine's own. It is the slow path: nothing in its layers is joined or tuned for decoding.

Not every model can be run so. What an `Attend` does not compute is refused by name, and a model is taken only after
its log-probabilities, token by token at mixed positions in one batch, were those of its plain forward: layers with a
state beside keys and values, positions that are counted instead of given, and masks of a model's own fail there.
"""

import copy
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ponder.errors import CheckpointError
from ponder.model.network import Attend, Masked

NAME = "ponder"
"""Our attention's name in transformers."""
CLOSE = 1e-3
"""Most by which a log-probability may differ from that of the plain forward."""
PROBED = 12
"""Tokens of that comparison."""
_HARMLESS = frozenset(
    ("dropout", "is_causal", "position_ids", "position_embeddings", "use_cache", "cache_position", "return_dict")
)
"""What a model may tell its attention without changing what it has to compute."""
_KINDS = ("full_attention", "sliding_attention", "chunked_attention")
"""Layers that look at all that came before, or did so up to some length."""
_STRETCHED = ("dynamic", "longrope")
"""Rotary embeddings that turn otherwise for all rows of a batch once one of them has outgrown the first length."""


@dataclass(frozen=True, kw_only=True)
class ForeignSizes:
    """See `ponder.model.sizes.Sizes`."""

    hidden_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    """Never more than what full attention computes rightly: a sliding window, or the length before a stretching."""


class Foreign:
    """A model of transformers behind the interface of `Network`."""

    def __init__(self, model: Any, sizes: ForeignSizes) -> None:
        transformers()
        self.model, self.shape = model, sizes
        self._trunk: nn.Module = model.get_decoder()
        self._top: Any = _without(model, self._trunk)

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The trunk's output (B, t, hidden) for ids and positions (B, t)."""
        if int(positions.max()) >= self.shape.max_position_embeddings:
            raise CheckpointError(
                f"{self._kind} is computed up to {self.shape.max_position_embeddings} tokens, not at position "
                f"{int(positions.max())}"
            )
        with _routed(attend):
            return self._trunk(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., vocabulary), with whatever the model does to its logits."""
        flat = hidden.reshape(1, -1, hidden.shape[-1])
        return self._top(inputs_embeds=flat, use_cache=False).logits.reshape(*hidden.shape[:-1], -1)

    def parameters(self) -> Generator[nn.Parameter]:
        """Every weight."""
        yield from self.model.parameters()

    def to(self, device: str, dtype: torch.dtype | None = None) -> "Foreign":
        """Moves the weights, to a dtype where one is given; returns itself."""
        self.model.to(device)
        for weight in self.parameters():  # not the buffers: rotary embeddings turn by their float32
            weight.data = weight.data.to(dtype or weight.dtype)
        return self

    def share_memory(self) -> "Foreign":
        """Moves the weights to memory that other processes can be given; returns itself."""
        self.model.share_memory()
        return self

    def __reduce__(self) -> tuple[type["Foreign"], tuple[Any, ForeignSizes]]:
        return Foreign, (self.model, self.shape)  # its trunk and top are made anew, in whichever process

    @property
    def _kind(self) -> str:
        return str(self.model.config.model_type)


# --- attention -----------------------------------------------------------------------------------------------------

_ATTEND: ContextVar[Attend] = ContextVar("attend")
"""Who looks at whom in the forward that runs now."""


@contextmanager
def _routed(attend: Attend) -> Generator[None]:
    token = _ATTEND.set(attend)
    try:
        yield
    finally:
        _ATTEND.reset(token)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer: query (B, H, t, D), key and value (B, K, t, D); returns (B, t, H, D)."""
    attend, dim = _ATTEND.get(), query.shape[-1]
    if attention_mask is not None:
        raise CheckpointError("its attention has a mask of its own, which is not supported")
    if key.shape != value.shape or key.shape[-1] != dim:
        raise CheckpointError(
            f"its heads have queries, keys and values of sizes {dim}, {key.shape[-1]} and {value.shape[-1]}, "
            "which is not supported unless they are the same"
        )
    for name, setting in more.items():
        if name not in _HARMLESS and setting is not None and setting is not False:
            raise CheckpointError(f"its attention needs {name}, which is not supported")
    if isinstance(attend, _Probe) and sliding_window is not None:
        attend.windows.append(sliding_window)
    if scaling is not None and scaling != dim**-0.5:
        query = query * (scaling * dim**0.5)
    return attend(module.layer_idx, *(x.transpose(1, 2) for x in (query, key, value))), None


@dataclass(frozen=True)
class _Output:
    """What a trunk returns: its last hidden states, and nothing else that a head might ask for."""

    last_hidden_state: Tensor

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _without(model: Any, trunk: nn.Module) -> Any:
    """The model, sharing all weights, with a trunk that passes on what it is given."""
    path = next((name for name, module in model.named_modules() if module is trunk), "")
    if not path:
        raise CheckpointError(f"{model.config.model_type} has no trunk apart from its head")
    *parents, last = path.split(".")
    at = top = _thin(model)
    for name in parents:
        at._modules[name] = _thin(at._modules[name])
        at = at._modules[name]
    given: Any = _thin(trunk)
    given.forward = lambda *_, inputs_embeds, **__: _Output(inputs_embeds)
    at._modules[last] = given
    return top


def _thin(module: Any) -> Any:
    """The same module, with a list of children of its own."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied


# --- the comparison with the plain forward -------------------------------------------------------------------------


@dataclass
class _Probe:
    """An `Attend` that remembers every layer's keys and values, and what was said of windows."""

    attend: Attend
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict[int, tuple[Tensor, Tensor]])
    calls: int = 0
    windows: list[int] = field(default_factory=list[int])

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `Attend`."""
        self.layers[layer] = keys, values
        self.calls += 1
        return self.attend(layer, queries, keys, values)


@dataclass(frozen=True)
class _Alone:
    """An `Attend` of n rows of one token each, at the n places of one text, whose keys and values are known."""

    known: dict[int, tuple[Tensor, Tensor]]
    masked: Masked

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `Attend`; each row's own key and value are its own, those before it the known ones."""
        n = len(keys)
        at = torch.arange(n)
        both = [whole.expand(n, -1, -1, -1).clone() for whole in self.known[layer]]
        for whole, own in zip(both, (keys, values), strict=True):
            whole[at, at] = own[:, 0]
        return self.masked(layer, queries, *both)


@torch.inference_mode()
def _compared(model: Any, sizes: ForeignSizes) -> Foreign:
    """The model behind our interface; raises CheckpointError where it does not compute there what it does alone."""
    n, kind = min(PROBED, sizes.max_position_embeddings), model.config.model_type
    ids = torch.randint(0, sizes.vocab_size, (1, n), generator=torch.Generator().manual_seed(0))
    right = model(input_ids=ids, use_cache=False).logits.float().log_softmax(dim=-1)[0]
    model.set_attn_implementation(NAME)
    causal, at = torch.ones(n, n, dtype=torch.bool).tril(), torch.arange(n)
    foreign, probe = Foreign(model, sizes), _Probe(Masked(causal[None, None]))
    hidden = foreign.hidden(ids, at[None], probe)
    layers = sizes.num_hidden_layers
    if sorted(probe.layers) != list(range(layers)) or probe.calls != layers:
        raise CheckpointError(
            f"{kind} has {layers} layers, but {probe.calls} calls of replaceable attention: models that keep more than "
            "keys and values (state spaces, convolutions), or that do not use transformers' attention interface, are "
            "not supported"
        )
    shapes = {keys.shape[2:] for keys, _ in probe.layers.values()}
    if len(shapes) > 1:
        raise CheckpointError(f"{kind} has layers of different heads ({len(shapes)} kinds), which is not supported")
    ((heads, dim),) = shapes
    window = min((*probe.windows, sizes.max_position_embeddings))
    foreign.shape = replace(sizes, num_key_value_heads=heads, head_dim=dim, max_position_embeddings=window)
    alone = foreign.logits(foreign.hidden(ids.T, at[:, None], _Alone(probe.layers, Masked(causal[:, None, None]))))
    for name, found in (("whole", foreign.logits(hidden)[0]), ("token by token", alone[:, 0])):
        gap = float((found.float().log_softmax(dim=-1) - right).abs().max())
        if not gap <= CLOSE:
            raise CheckpointError(
                f"{kind} read {name} differs by {gap:.2g} from its plain forward (log-probabilities of {n} tokens): "
                "it cannot be run with attention and caches of ours"
            )
    return foreign


# --- loading -------------------------------------------------------------------------------------------------------


def load_foreign(folder: Path) -> tuple[Foreign, tuple[str, ...]]:
    """The model of a Hugging Face directory, in float32, and what its user should know of it.

    Raises CheckpointError for one that cannot be run here. Weights come from safetensors alone, and no code from
    the directory is run.
    """
    library: Any = transformers()
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quietly(library):
            config: Any = library.AutoConfig.from_pretrained(folder, **here)
            sizes = _sizes(config)
            model, told = library.AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
                **here,
            )
            wrong = [*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])]
            if wrong:
                raise CheckpointError(f"{len(wrong)} weights of {config.model_type} are missing or have another size")
            if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
                raise CheckpointError("some weights are not finite: fetch it again")
            foreign = _compared(model.eval(), sizes)
            return foreign, _notes(config, foreign, sorted(told["unexpected_keys"]))
    except CheckpointError as err:
        raise CheckpointError(f"{folder}: {err}") from err
    except Exception as err:  # their models fail in any way they like, and none of it may end in a traceback
        reason = " ".join(str(err).split())[:300] or type(err).__name__
        raise CheckpointError(f"{folder} cannot be run by transformers ({reason})") from err


def _notes(config: Any, foreign: Foreign, unused: list[str]) -> tuple[str, ...]:
    window, whole = foreign.shape.max_position_embeddings, config.get_text_config().max_position_embeddings
    notes = [f"{config.model_type} runs by its own forward in transformers: slower than what runs by ours"]
    if window < whole:
        notes.append(f"it reads at most {window:,} of {whole:,} tokens here, where windows of attention do not slide")
    if unused:
        notes.append(f"{len(unused)} of its weights are not used, {unused[0]} first: its config does not name them")
    return tuple(notes)


def _sizes(config: Any) -> ForeignSizes:
    """From a config, before anything is loaded; heads are counted later, in the first forward."""
    text = config.get_text_config()
    if config.is_encoder_decoder:
        raise CheckpointError(f"{config.model_type} is an encoder with a decoder, only decoders are supported")
    if getattr(config, "quantization_config", None):
        raise CheckpointError("quantization_config is set: only whole weights are supported")
    names = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
    values: dict[str, Any] = {name: getattr(text, name, None) for name in names}
    if values["max_position_embeddings"] is None:
        raise CheckpointError(
            f"the config of {config.model_type} has no max_position_embeddings: state spaces, and attention that knows "
            "no positions, are not supported"
        )
    for name, value in values.items():
        if not isinstance(value, int) or value < 1:
            raise CheckpointError(f"the config of {config.model_type} has {name}={value!r}, which is no size")
    values["max_position_embeddings"] = min((values["max_position_embeddings"], *_windows(text)))
    return ForeignSizes(num_key_value_heads=1, head_dim=1, **values)


def _windows(text: Any) -> list[int]:
    """The lengths up to which this config's attention is the full one and its rotary embedding stays as it is."""
    kinds: list[str] = list(getattr(text, "layer_types", None) or ())
    if strange := sorted(set(kinds) - set(_KINDS)):
        raise CheckpointError(
            f"the config of {text.model_type} has layers of the kind {strange[0]!r}, which is not supported"
        )
    windows = [getattr(text, "sliding_window", None)] if not kinds or "sliding_attention" in kinds else []
    if getattr(text, "use_sliding_window", True) is False:
        windows = []
    windows += [getattr(text, "attention_chunk_size", None)] if "chunked_attention" in kinds else []
    rope = getattr(text, "rope_parameters", None) or {}
    for part in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if part.get("rope_type") in _STRETCHED:
            windows.append(part.get("original_max_position_embeddings"))
    return [window for window in windows if isinstance(window, int) and window > 0]


@cache
def transformers() -> ModuleType:
    """The library, imported when it is first needed, with our attention in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within its own imports are not the user's concern
        import transformers

    transformers.AttentionInterface.register(NAME, _attention)
    return transformers


@contextmanager
def quietly(library: Any) -> Generator[None]:
    """Without the library's own progress bars and remarks: what matters of them is checked and raised here."""
    level, bar = library.logging.get_verbosity(), library.logging.is_progress_bar_enabled()
    library.logging.set_verbosity(logging.CRITICAL)
    library.logging.disable_progress_bar()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)
        if bar:
            library.logging.enable_progress_bar()
