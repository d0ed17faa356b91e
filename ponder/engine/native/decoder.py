"""The decoder of compiled kernels: tells them where everything stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ponder.engine.decoder import Drawn, missing
from ponder.engine.grammar import AT, PLACES, Grammar
from ponder.engine.kv_cache import Slots
from ponder.engine.native import drawing, passes
from ponder.engine.native.compiling import LANES
from ponder.engine.native.products import FLOAT
from ponder.engine.rows import Rows
from ponder.engine.spans import Span
from ponder.errors import SamplerError
from ponder.model.network import Network
from ponder.text.format import Place

POSITIONS = 256
"""By so many the table of cosines and sines grows."""
MARKS = [AT[place] for place in (Place.BETWEEN, Place.ANSWER, Place.SUMMARY, Place.DONE)]
LAYER = (
    "input_layernorm.weight",
    "self_attn.qkv_proj.weight",
    "self_attn.qkv_proj.bias",
    "self_attn.q_norm.weight",
    "self_attn.k_norm.weight",
    "self_attn.o_proj.weight",
    "post_attention_layernorm.weight",
    "mlp.gate_up_proj.weight",
    "mlp.down_proj.weight",
)
"""A layer's weights, in the order of `passes.PARTS`."""
_THEIRS = (passes.THEIR_KEYS, passes.THEIR_VALUES, passes.THEIR_LAYER, passes.THEIR_HEAD)


@dataclass(eq=False)
class NativeDecoder:
    """One of our networks on a CPU, in float32; the weights are read where the trainer changes them."""

    network: Network
    why: str = "compiled kernels: our own network, float32, on a CPU"
    _weights: list[Tensor | None] = field(init=False)
    """Layer by layer, then embedding, last norm and head."""
    _prompts: tuple[Any, int, int] = field(default=(None, 0, 0), init=False)
    """Where the prompts of some slots stood at that many changes."""

    def __post_init__(self) -> None:
        shape, named = self.network.shape, dict(self.network.named_parameters())
        layers = [f"model.layers.{layer}.{part}" for layer in range(shape.num_hidden_layers) for part in LAYER]
        embedding = "model.embed_tokens.weight"
        head = embedding if shape.tie_word_embeddings else "lm_head.weight"
        self._weights = [named.get(name) for name in (*layers, embedding, "model.norm.weight", head)]
        self._addresses = np.zeros(len(self._weights), np.int64)
        heads, kv_heads, dim = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
        size = (shape.hidden_size, heads, kv_heads, dim, shape.intermediate_size)
        self._sizes = np.array([*size, shape.vocab_size])
        self._scratch = np.zeros(passes.scratch_size(*size), np.float32)
        self._scores = np.zeros((heads // kv_heads, 0), np.float32)
        self._table = torch.zeros(0, dim)
        self._hidden, self._logits = torch.zeros(0, shape.hidden_size), torch.zeros(0, shape.vocab_size)
        padded = -(-shape.vocab_size // LANES) * LANES
        self._masked, self._chances = np.zeros(padded, np.float32), np.zeros(padded)

    def read(self, known: Sequence[Span], new: Sequence[Sequence[int]]) -> tuple[list[Span], Tensor, Tensor]:
        """See `Decoder`: a lane for each new token."""
        shape, counts = self.network.shape, [len(ids) for ids in new]
        hidden, logits = torch.empty(len(new), shape.hidden_size), torch.empty(len(new), shape.vocab_size)
        lanes, spans, start = np.zeros((sum(counts), passes.COLUMNS), np.int64), list[Span](), 0
        size = shape.num_hidden_layers, shape.num_key_value_heads
        for row, (behind, ids) in enumerate(zip(known, new, strict=True)):
            span = Span(*torch.empty(2, *size, len(ids), shape.head_dim))
            part, steps = lanes[start : start + len(ids)], np.arange(len(ids))
            part[:, passes.TOKEN], part[:, passes.OWN] = ids, steps
            part[:, passes.POSITION], part[:, passes.BEHIND] = behind.tokens + steps, behind.tokens
            part[:, [passes.KEYS, passes.VALUES, passes.LAYER, passes.HEAD]] = _place(span.keys, span.values)
            part[:, _THEIRS] = _place(behind.keys, behind.values)
            part[-1, passes.HIDDEN], part[-1, passes.LOGITS] = hidden[row].data_ptr(), logits[row].data_ptr()
            spans.append(span)
            start += len(ids)
        self._run(lanes)
        return spans, hidden, logits

    def decode(self, tokens: Tensor, slots: Slots, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder`: a lane for each active row."""
        slots.grow()
        if len(tokens) > len(self._logits):
            self._hidden = torch.zeros(len(tokens), self._hidden.shape[1])
            self._logits = torch.zeros(len(tokens), self._logits.shape[1])
        rows, own = np.flatnonzero(active.numpy()), slots.lengths.numpy()
        lanes = np.zeros((len(rows), passes.COLUMNS), np.int64)
        keys, values, layer, _ = _place(slots.keys, slots.values)
        apart, head = (FLOAT * step for step in slots.keys.stride()[1:3])
        lanes[:, passes.TOKEN], lanes[:, passes.OWN] = tokens.numpy()[rows], own[rows]
        lanes[:, passes.KEYS], lanes[:, passes.VALUES] = keys + apart * rows, values + apart * rows
        lanes[:, passes.LAYER], lanes[:, passes.HEAD] = layer, head
        behind = slots.behind.numpy()[rows]
        lanes[:, passes.BEHIND], lanes[:, passes.POSITION] = behind, behind + lanes[:, passes.OWN]
        lanes[:, _THEIRS] = self._standing(slots)[rows]
        lanes[:, passes.HIDDEN] = self._hidden.data_ptr() + FLOAT * self._hidden.shape[1] * rows
        lanes[:, passes.LOGITS] = self._logits.data_ptr() + FLOAT * self._logits.shape[1] * rows
        self._run(lanes)
        return self._hidden[: len(tokens)], self._logits[: len(tokens)]

    def draw(self, rows: Rows, logits: Tensor, grammar: Grammar) -> Drawn:
        """See `Decoder`; free rows draw nothing."""
        rows.make_room()
        held = (rows.place, rows.left, rows.answer_limit, rows.seeds, rows.drawn, rows.temperatures, rows.top_ps)
        held += (rows.top_ks, rows.min_ps, rows.written, rows.logprobs)
        held += (logits, grammar.allowed, grammar.leads, grammar.closing)
        active = np.flatnonzero(rows.active.numpy())
        tokens, over = torch.zeros(len(rows.place), dtype=torch.long), np.zeros(len(active), np.int64)
        state = np.array([tensor.data_ptr() for tensor in held])
        marks = np.array([*MARKS, len(PLACES), rows.written.shape[1]])
        masked, chances = self._masked, self._chances
        places = masked.ctypes.data, chances.ctypes.data
        count = drawing.step(active, state, marks, logits.shape[1], masked, chances, *places, tokens.numpy(), over)
        return Drawn(tokens, over[:count].tolist())

    def _run(self, lanes: Any) -> None:
        most = int(lanes[:, passes.POSITION].max()) + 1
        if most > len(self._table):
            positions = torch.arange(-(-most // POSITIONS) * POSITIONS)
            cos, sin = (turn[0, :, 0] for turn in self.network.turn(positions[None]))
            half = self.network.shape.head_dim // 2
            self._table = torch.cat((cos[:, :half], sin[:, half:]), dim=1)
            self._scores = np.zeros((len(self._scores), len(positions) + passes.SLACK), np.float32)
        addresses = self._where()
        layers, ends = addresses[:-3].reshape(-1, passes.PARTS), addresses[-3:]
        eps, scores = self.network.shape.rms_norm_eps, self._scores
        work = self._scratch.ctypes.data, scores.ctypes.data, scores.shape[1]
        passes.run(lanes, layers, ends, self._sizes, eps, self._table.data_ptr(), *work)

    def _where(self) -> Any:
        """The weights' addresses, which change where they are moved to shared memory."""
        addresses = np.array([0 if weight is None else weight.data_ptr() for weight in self._weights])
        if not np.array_equal(addresses, self._addresses):
            if reason := missing(self.network):
                raise SamplerError(f"the network was changed under the sampler: {reason}; make a new sampler")
            self._addresses = addresses
        return addresses

    def _standing(self, slots: Slots) -> Any:
        """(S, 4), where each row's prompt stands."""
        held, changes, source = self._prompts
        if changes != slots.changes or source != id(slots):
            shelves = {
                columns: (_place(*shelf), FLOAT * shelf[0].stride(1), FLOAT * shelf[0].stride(2))
                for columns, shelf in slots.prompts.shelves.items()
            }
            held = np.zeros((slots.rows, len(_THEIRS)), np.int64)
            for row, spot in enumerate(slots.spots):
                if spot:
                    (keys, values, layer, _), apart, head = shelves[spot.columns]
                    held[row] = keys + apart * spot.number, values + apart * spot.number, layer, head
            self._prompts = held, slots.changes, id(slots)
        return held


def _place(keys: Tensor, values: Tensor) -> tuple[int, int, int, int]:
    """Addresses of keys and values (L, K, t, D), and bytes from one layer and one head to the next; both are laid out
    alike."""
    return keys.data_ptr(), values.data_ptr(), FLOAT * keys.stride(0), FLOAT * keys.stride(1)
