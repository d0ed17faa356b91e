"""The local sampler: extends a batch of prefixes by a block or an answer each, on this machine's own weights.

Each call reads the folded contexts once, then decodes all rows together until each has closed its block, finished its
answer or used up its limit. The format is enforced while decoding: from each place only its own markers may come next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ponder.engine.kv_cache import BatchCache
from ponder.engine.sampling import draw
from ponder.errors import ConfigError, SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.model.checkpoint import Checkpoint
from ponder.text import format
from ponder.text.format import BLOCKS, Parser, Place
from ponder.text.tokenizer import PonderTokenizer
from ponder.types import Ended, Segment

Listener = Callable[[int, str], None]
"""Called with a row's number and its next piece of text, as it is generated."""

PLACES = tuple(Place)
COMPACT = 0.75
"""Finished rows are taken out of the batch once no more than this share still runs: taking out copies the cache."""


@dataclass(frozen=True)
class Grammar:
    """The dialect's table as tensors: which tokens may follow at a place, and where a token leads."""

    allowed: Tensor
    """(places, V), 0 where a token may come and -inf where it may not."""
    leads: Tensor
    """(places, V) to the next place's number."""

    @classmethod
    def of(cls, special: dict[str, int], size: int, device: torch.device) -> "Grammar":
        """Build the tables for a vocabulary."""
        ids = list(special.values())
        allowed = torch.zeros(len(PLACES), size)
        allowed[:, ids] = -torch.inf
        leads = torch.arange(len(PLACES))[:, None].repeat(1, size)
        for place in (Place.BETWEEN, Place.DONE, Place.MALFORMED):
            allowed[PLACES.index(place)] = -torch.inf
        for (place, mark), to in BLOCKS.moves.items():
            if (place, mark) == (Place.HEADLINE, format.Mark.SUMMARY):
                continue  # folded blocks are read, never written
            token = special[BLOCKS.marker[mark].text]
            allowed[PLACES.index(place), token] = 0.0
            leads[PLACES.index(place), token] = PLACES.index(to)
        return cls(allowed.to(device), leads.to(device))


@dataclass(eq=False)
class _Rows:
    """The rows of one decoding batch; every tensor's first axis is the rows still running."""

    index: Tensor
    place: Tensor
    left: Tensor
    answer_limit: Tensor
    seeds: Tensor
    drawn: Tensor
    temperatures: Tensor
    top_ps: Tensor
    positions: Tensor
    padding: Tensor
    """(B,) columns of left padding."""
    running: Tensor
    """(B,) whether the row still generates."""

    def keep(self, rows: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[rows])


@dataclass(frozen=True)
class _Ear:
    """Tells a listener each token's text; a character of several tokens is held back until it is whole."""

    listener: Listener
    tokenizer: PonderTokenizer
    held: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def hear(self, row: int, token: int) -> None:
        ids = [*self.held.pop(row, []), token]
        text = self.tokenizer.decode(ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(ids) < 4:  # no character has more than four bytes
            self.held[row] = ids
        else:
            self.listener(row, text)


@dataclass(frozen=True)
class LocalSampler:
    """A checkpoint that generates."""

    checkpoint: Checkpoint
    most_rows: int = 256
    listener: Listener | None = None
    grammar: Grammar = field(init=False)

    def __post_init__(self) -> None:
        if not self.checkpoint.config.dialect == BLOCKS.name:
            raise ConfigError(f"the local sampler speaks blocks, the checkpoint {self.checkpoint.config.dialect!r}")
        tokenizer = self.checkpoint.tokenizer
        object.__setattr__(self, "grammar", Grammar.of(tokenizer.special, tokenizer.size, self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.checkpoint.network.parameters()).device

    def context(self, prefix: Prefix) -> list[int]:
        """The ids that the next block, or the answer, of a prefix is generated from."""
        window = self.checkpoint.config.fold_window
        pieces = format.render_context(
            prefix.messages, prefix.effort, prefix.blocks, window, answering=prefix.answering
        )
        return self.checkpoint.tokenizer.encode(pieces)

    def extend(
        self, prefixes: Sequence[Prefix], limits: Sequence[Limit], sampling: Sequence[Sampling]
    ) -> list[Extension]:
        """One block or answer per prefix; rows that reach their limit first come back CUT_OFF."""
        contexts = [self.context(prefix) for prefix in prefixes]
        longest = self.checkpoint.network.shape.max_position_embeddings
        for context, limit in zip(contexts, limits, strict=True):
            if len(context) + 1 + limit.answer > longest:
                raise SamplerError(
                    f"the prompt has {len(context)} tokens and its answer up to {limit.answer}, but the model reads at "
                    f"most {longest}: shorten the prompt"
                )
        # A block, its fold and the answer must fit the window, however long the whole thought may become.
        limits = [
            Limit(min(limit.thinking, max(1, (longest - len(context) - limit.answer) // 2)), limit.answer)
            for context, limit in zip(contexts, limits, strict=True)
        ]
        order = sorted(range(len(contexts)), key=lambda row: len(contexts[row]))
        results: dict[int, Extension] = {}
        for start in range(0, len(order), self.most_rows):
            chunk = order[start : start + self.most_rows]
            results |= self._decode(chunk, contexts, prefixes, limits, sampling)
        return [results[row] for row in range(len(prefixes))]

    @torch.inference_mode()
    def _decode(
        self,
        chunk: Sequence[int],
        contexts: Sequence[list[int]],
        prefixes: Sequence[Prefix],
        limits: Sequence[Limit],
        sampling: Sequence[Sampling],
    ) -> dict[int, Extension]:
        network = self.checkpoint.network
        rows = self._rows(chunk, contexts, prefixes, limits, sampling)
        width = max(len(contexts[row]) for row in chunk)
        cache = BatchCache(network.shape, len(chunk), self._device)
        logits = self._prefill(chunk, contexts, width, rows, cache)
        generated: dict[int, list[int]] = {row: [] for row in chunk}
        logprobs: dict[int, list[float]] = {row: [] for row in chunk}
        ear = _Ear(self.listener, self.checkpoint.tokenizer) if self.listener else None
        while True:
            logits = logits.float() + self.grammar.allowed[rows.place]
            tokens = draw(logits, rows.temperatures, rows.top_ps, rows.seeds, rows.drawn)
            chosen = logits.log_softmax(dim=-1).gather(1, tokens[:, None]).squeeze(1)
            before, rows.place = rows.place, self.grammar.leads[rows.place, tokens]
            begun = (before == PLACES.index(Place.BETWEEN)) & (rows.place == PLACES.index(Place.ANSWER))
            rows.drawn, rows.left = rows.drawn + 1, torch.where(begun, rows.answer_limit, rows.left) - 1
            news = zip(rows.index.tolist(), rows.running.tolist(), tokens.tolist(), chosen.tolist(), strict=True)
            for row, running, token, logprob in news:
                if running:
                    generated[row].append(token)
                    logprobs[row].append(logprob)
                    if ear:
                        ear.hear(row, token)
            closed = (rows.place == PLACES.index(Place.DONE)) | (
                (rows.place == PLACES.index(Place.BETWEEN)) & (before == PLACES.index(Place.SUMMARY))
            )
            rows.running = rows.running & ~closed & (rows.left > 0)
            count = int(rows.running.sum())
            if not count:
                break
            if count <= COMPACT * len(rows.running):
                kept = rows.running.nonzero().squeeze(1)
                rows.keep(kept)
                cache.keep(kept)
                tokens = tokens[kept]
            # A finished row that is still in the batch writes on, unheard; anything may follow in an answer.
            rows.place = rows.place.masked_fill(~rows.running, PLACES.index(Place.ANSWER))
            logits = self._advance(tokens, rows, cache)
        return {row: self._extension(contexts[row], generated[row], logprobs[row], prefixes[row]) for row in chunk}

    def _rows(
        self,
        chunk: Sequence[int],
        contexts: Sequence[list[int]],
        prefixes: Sequence[Prefix],
        limits: Sequence[Limit],
        sampling: Sequence[Sampling],
    ) -> _Rows:
        device = self._device
        width = max(len(contexts[row]) for row in chunk)
        answering = [prefixes[row].answering for row in chunk]
        place = [PLACES.index(Place.ANSWER if now else Place.BETWEEN) for now in answering]

        def ints(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        return _Rows(
            index=ints(list(chunk)),
            place=ints(place),
            left=ints([limits[row].answer if prefixes[row].answering else limits[row].thinking for row in chunk]),
            answer_limit=ints([limits[row].answer for row in chunk]),
            seeds=ints([sampling[row].seed for row in chunk]),
            drawn=ints([0] * len(chunk)),
            temperatures=torch.tensor([sampling[row].temperature for row in chunk], device=device),
            top_ps=torch.tensor([sampling[row].top_p for row in chunk], device=device),
            positions=ints([len(contexts[row]) for row in chunk]),
            padding=ints([width - len(contexts[row]) for row in chunk]),
            running=torch.ones(len(chunk), dtype=torch.bool, device=device),
        )

    def _prefill(
        self, chunk: Sequence[int], contexts: Sequence[list[int]], width: int, rows: _Rows, cache: BatchCache
    ) -> Tensor:
        ids = torch.zeros(len(chunk), width, dtype=torch.long, device=self._device)
        for b, row in enumerate(chunk):
            ids[b, width - len(contexts[row]) :] = torch.tensor(contexts[row], device=self._device)
        columns = torch.arange(width, device=self._device)
        real = columns >= rows.padding[:, None]
        positions = (columns - rows.padding[:, None]).clamp_min(0)
        causal = columns[:, None] >= columns
        # A padding token looks at itself, so that no row of the softmax is empty.
        mask = (causal & real[:, None, :]) | torch.eye(width, dtype=torch.bool, device=self._device)
        cache.mask = mask[:, None]
        hidden = self.checkpoint.network.hidden(ids, positions, cache)
        cache.length = width
        return self.checkpoint.network.logits(hidden[:, -1])

    def _advance(self, tokens: Tensor, rows: _Rows, cache: BatchCache) -> Tensor:
        columns = torch.arange(cache.length + 1, device=self._device)
        cache.mask = (columns >= rows.padding[:, None])[:, None, None]
        hidden = self.checkpoint.network.hidden(tokens[:, None], rows.positions[:, None], cache)
        cache.length += 1
        rows.positions = rows.positions + 1
        return self.checkpoint.network.logits(hidden[:, -1])

    def _extension(self, context: list[int], generated: list[int], logprobs: list[float], prefix: Prefix) -> Extension:
        parser = Parser()
        if prefix.answering:
            parser.eat(BLOCKS.marker[format.Mark.ANSWER])
        for piece in self._pieces(generated):
            parser.eat(piece)
        segment = Segment(tuple(context), tuple(generated), tuple(logprobs))
        parsed = parser.result()
        if parsed.ended is Ended.ANSWERED:
            return Extension(None, parsed.answer, Ended.ANSWERED, segment)
        if parsed.blocks:
            return Extension(parsed.blocks[0], None, None, segment)
        answer = parsed.answer if parser.place is Place.ANSWER else None
        return Extension(None, answer, parsed.ended, segment)

    def _pieces(self, ids: Sequence[int]) -> list[format.Piece]:
        """Generated ids as pieces: only special tokens are markers, whatever the text between them spells."""
        by_id = {id_: text for text, id_ in self.checkpoint.tokenizer.special.items()}
        pieces: list[format.Piece] = []
        run: list[int] = []
        for id_ in (*ids, -1):
            if id_ != -1 and id_ not in by_id:
                run.append(id_)
                continue
            if run:
                pieces.append(format.Piece(self.checkpoint.tokenizer.decode(run)))
                run = []
            if id_ != -1:
                pieces.append(format.Piece(by_id[id_], True))
        return pieces
