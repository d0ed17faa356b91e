"""What a round's rollouts come to, in numbers for the metrics and the monitors."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from ponder.train.advantages import Group, Scored, degenerate
from ponder.types import Ended


def mean(numbers: Sequence[float]) -> float:
    """The mean, rounded for the log."""
    return round(math.fsum(numbers) / len(numbers), 6)


def measured(groups: Sequence[Group]) -> dict[str, float]:
    """What a round's rollouts come to; what cannot be said of it is left out."""
    scored = list(chain.from_iterable(groups))
    decided = [one for one in scored if one.reward.decided]
    completions = [one.drawn.rollout.completion for one in scored]
    found = {
        "undecided": mean([not one.reward.decided for one in scored]),
        "degenerate": mean([degenerate(group) for group in groups]),
        "cut_off": mean([completion.ended is Ended.CUT_OFF for completion in completions]),
        "malformed": mean([completion.ended is Ended.MALFORMED for completion in completions]),
        "length": mean([one.length for one in scored]),
        "entropy": entropy_of(scored),
    }
    if decided:
        found["reward"] = mean([one.reward.total for one in decided])
        for name in decided[0].reward.terms:
            found[f"reward_{name}"] = mean([one.reward.terms[name] for one in decided])
        found["success"] = mean([one.drawn.rollout.grade.right for one in decided])
    for name, right in (("length_right", True), ("length_wrong", False)):
        if lengths := [one.length for one in decided if one.drawn.rollout.grade.right is right]:
            found[name] = mean(lengths)
    if repeats := [again for one in scored for again in repeated(one)]:
        found["repetition"] = mean(repeats)
    if (pays := length_pay(groups)) is not None:
        found["length_pay"] = round(pays, 6)
    rated = [(one.drawn.ratings[-2].value, one.drawn.rollout.grade.right) for one in decided if one.drawn.ratings]
    if rated:
        found["optimism"] = round(mean([value for value, _ in rated]) - mean([right for _, right in rated]), 6)
        found["value_error"] = mean([(value - right) ** 2 for value, right in rated])
    return found


def tokens_of(groups: Sequence[Group]) -> int:
    """Tokens that were sampled."""
    return sum(one.length for group in groups for one in group)


def entropy_of(scored: Sequence[Scored]) -> float:
    """Nats of a sampled token: the mean of minus its log-probability, which estimates the entropy without bias."""
    segments = [segment for one in scored for segment in one.drawn.rollout.segments]
    tokens = sum(len(segment.logprobs) for segment in segments)
    return round(-math.fsum(math.fsum(segment.logprobs) for segment in segments) / max(1, tokens), 6)


def repeated(one: Scored) -> list[bool]:
    """Of each block, whether it says the same as an earlier one of its thought."""
    said = [(block.headline, block.summary) for block in one.drawn.rollout.completion.blocks]
    return [block in said[:at] for at, block in enumerate(said)]


def length_pay(groups: Sequence[Group]) -> float | None:
    """Correlation of being right with being long, within problems; None where nothing varies."""
    pairs: list[tuple[float, float]] = []
    for group in groups:
        if not (decided := [one for one in group if one.reward.decided]):
            continue
        right = [float(one.drawn.rollout.grade.right) for one in decided]
        lengths = [float(one.length) for one in decided]
        means = math.fsum(right) / len(right), math.fsum(lengths) / len(lengths)
        pairs += [(a - means[0], b - means[1]) for a, b in zip(right, lengths, strict=True)]
    scale = math.sqrt(math.fsum(a * a for a, _ in pairs) * math.fsum(b * b for _, b in pairs))
    return math.fsum(a * b for a, b in pairs) / scale if scale else None


def told(one: Scored) -> dict[str, Any]:
    """A rollout for a reader."""
    rollout = one.drawn.rollout
    return {
        "problem": rollout.problem.id,
        "prompt": rollout.problem.prompt,
        "gold": rollout.problem.answer,
        "effort": one.drawn.draw.effort,
        "kept": len(one.drawn.draw.kept.blocks),
        "blocks": [[block.headline, block.thoughts, block.summary] for block in rollout.completion.blocks],
        "answer": rollout.completion.answer,
        "ended": rollout.completion.ended,
        "score": rollout.grade.score,
        "note": one.reward.note or rollout.grade.note,
        "reward": dict(one.reward.terms),
        "ratings": [[rating.value, rating.validity] for rating in one.drawn.ratings or ()],
    }
