"""Watches a run of reinforcement learning: what goes wrong quietly is said in a plain sentence, and stopped in time.

A monitor reads the run's records so far, one a round, and gives an alarm or nothing. A new one is a function and a line
in MONITORS.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

RECENT = 5
"""Rounds over which numbers are averaged now."""
FIRST = 3
"""Rounds that are the start."""
MOST_GAP = 1e-3
"""Nats between the sampler's and the trainer's log-probability of a token, on average."""
LEAST_ENTROPY = 0.01
"""Nats of a token at the start, below which nothing can be said of a fall."""
QUIET = 10
"""Rounds for which a warning is not given again."""


class Action(StrEnum):
    """What an alarm asks for."""

    WARN = "warn"
    ROLL_BACK = "roll back"
    """To the last healthy state, and on from there with a smaller step: for what a step too large has done."""
    STOP = "stop"
    """What is wrong would be wrong again: the grader, the problems, or another policy than was sampled."""


@dataclass(frozen=True)
class Alarm:
    """What a monitor has seen."""

    name: str
    action: Action
    sentence: str


Record = Mapping[str, float]
History = Sequence[Record]
Monitor = Callable[[History], Alarm | None]


def mean_of(history: History, name: str) -> float | None:
    """A number's mean over the records that have it."""
    found = [record[name] for record in history if name in record]
    return math.fsum(found) / len(found) if found else None


def now(history: History, name: str) -> float | None:
    """A number of late."""
    return mean_of([record for record in history if name in record][-RECENT:], name)


def then(history: History, name: str) -> float | None:
    """The same at the start of the run; None while that is still now."""
    found = [record for record in history if name in record]
    return mean_of(found[:FIRST], name) if len(found) >= FIRST + RECENT else None


def finite(history: History) -> Alarm | None:
    """Numbers that are none."""
    broken = [name for name, value in history[-1].items() if not math.isfinite(value)]
    if broken:
        return Alarm(
            "finite", Action.ROLL_BACK, f"{', '.join(broken)} is not a finite number: the weights or a reward broke"
        )
    return None


def gap(history: History) -> Alarm | None:
    """Sampler and trainer must be the same policy."""
    apart = history[-1].get("gap", 0.0)
    if apart > MOST_GAP:
        return Alarm(
            "gap",
            Action.STOP,
            f"the sampler's and the trainer's log-probabilities differ by {apart:.2g} a token, more than {MOST_GAP}: "
            "they do not compute the same policy (other weights, another number format, or other masks)",
        )
    return None


def entropy(history: History) -> Alarm | None:
    """Exploration that has ended, or a policy that dissolves."""
    late, early = now(history, "entropy"), then(history, "entropy")
    if late is None or early is None or early < LEAST_ENTROPY or 0.4 * early <= late <= 2 * early:
        return None
    if late > early:
        sentence = f"the entropy of a token has risen from {early:.3f} to {late:.3f}: samples are turning into noise"
        return Alarm("entropy", Action.WARN, f"{sentence}; a smaller learning rate keeps them together")
    sentence = f"the entropy of a token has fallen from {early:.3f} to {late:.3f}: samples are becoming alike"
    if late < 0.1 * early:
        return Alarm("entropy", Action.ROLL_BACK, f"{sentence}, and nothing new is tried")
    return Alarm("entropy", Action.WARN, f"{sentence}; a larger eps_high or a smaller learning rate keeps more of it")


def groups(history: History) -> Alarm | None:
    """Problems that teach nothing."""
    late = now(history, "degenerate")
    if late is None or len(history) < RECENT or late <= 0.8:
        return None
    share = 100 * (now(history, "success") or 0.0)
    sentence = f"{100 * late:.0f} % of the groups were all right or all wrong of late, with {share:.0f} % success"
    if len(history) >= 2 * RECENT and all(record["degenerate"] == 1 for record in history[-2 * RECENT :]):
        return Alarm("degenerate", Action.STOP, f"{sentence}: nothing is learned; choose other levels")
    return Alarm("degenerate", Action.WARN, f"{sentence}: little is learned; choose other levels, or more samples")


def length(history: History) -> Alarm | None:
    """Rewards that pay for length, and lengths that run away."""
    late, early, pays = now(history, "length"), then(history, "length"), now(history, "length_pay")
    if late is None or early is None:
        return None
    grown = late / max(early, 1.0)
    if grown > 1.5 and (pays or 0.0) > 0.5:
        return Alarm(
            "length",
            Action.STOP,
            f"completions have grown from {early:.0f} to {late:.0f} tokens, and within a problem the longer ones are "
            f"the right ones (correlation {pays:.2f}): the grader seems to pay for length",
        )
    if grown > 2.0:
        return Alarm("length", Action.WARN, f"completions have grown from {early:.0f} to {late:.0f} tokens")
    return None


def repetition(history: History) -> Alarm | None:
    """Thoughts that go round in circles."""
    late, early = now(history, "repetition"), then(history, "repetition")
    if late is None or early is None or late - early <= 0.15:
        return None
    sentence = (
        f"{100 * late:.0f} % of the blocks repeat an earlier one of their thought, {100 * early:.0f} % at the start"
    )
    return Alarm("repetition", Action.ROLL_BACK if late - early > 0.4 else Action.WARN, sentence)


def unfinished(history: History) -> Alarm | None:
    """Completions without an answer."""
    late = (now(history, "cut_off") or 0.0) + (now(history, "malformed") or 0.0)
    if len(history) >= RECENT and late > 0.5:
        return Alarm("unfinished", Action.WARN, f"{100 * late:.0f} % of the completions had no finished answer of late")
    return None


def undecided(history: History) -> Alarm | None:
    """Graders that fail."""
    late = history[-1].get("undecided", 0.0)
    if late <= 0.1:
        return None
    sentence = f"{100 * late:.0f} % of the samples could not be graded: samples.jsonl has the reasons"
    return Alarm("undecided", Action.STOP if late > 0.5 else Action.WARN, sentence)


def optimism(history: History) -> Alarm | None:
    """A head that is pleased with what is wrong."""
    late, early = now(history, "optimism"), then(history, "optimism")
    if late is None or late <= 0.3:
        return None
    sentence = f"the head expects {100 * late:.0f} points more success than there is"
    if early is not None and late - early > 0.3:
        return Alarm("optimism", Action.ROLL_BACK, f"{sentence}, {100 * early:.0f} at the start: it is being exploited")
    return Alarm("optimism", Action.WARN, f"{sentence}; train it again on this policy")


def success(history: History) -> Alarm | None:
    """A policy that loses what it could; while the levels that it practises are the same."""
    late, early = now(history, "success"), then(history, "success")
    if late is None or early is None or early < 0.1 or late >= 0.5 * early:
        return None
    practised = [{name for name in record if name.startswith("at ")} for record in (history[FIRST - 1], history[-1])]
    if practised[0] != practised[1]:
        return None
    return Alarm("success", Action.ROLL_BACK, f"success has fallen from {100 * early:.0f} to {100 * late:.0f} %")


def coverage(history: History) -> Alarm | None:
    """Problems that not even one of many samples solves any more."""
    found = [(name, record[name]) for record in history for name in record if name.startswith("probe_pass@")]
    (name, late) = found[-1] if found else ("", 0.0)
    early = next((value for other, value in found if other == name), 0.0)
    if late >= early - 0.15:
        return None
    return Alarm(
        "coverage",
        Action.WARN,
        f"{name.removeprefix('probe_')} on the probe problems has fallen from {100 * early:.0f} to {100 * late:.0f} %: "
        "diversity is being lost; a larger eps_high, kl or fewer rounds keep more of it",
    )


MONITORS: tuple[Monitor, ...] = (
    finite,
    gap,
    entropy,
    groups,
    length,
    repetition,
    unfinished,
    undecided,
    optimism,
    success,
    coverage,
)


def alarms(history: History) -> list[Alarm]:
    """What all monitors say after the last of these records."""
    found = (monitor(history) for monitor in MONITORS)
    return [alarm for alarm in found if alarm]
