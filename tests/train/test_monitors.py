"""Each monitor sees what it is for, says it in a sentence, and is silent about a healthy run."""

import math

import pytest

from ponder.train.monitors import MONITORS, Action, Record, alarms

HEALTHY = {
    "entropy": 0.3,
    "degenerate": 0.4,
    "length": 100.0,
    "length_pay": -0.2,
    "repetition": 0.1,
    "cut_off": 0.05,
    "malformed": 0.0,
    "undecided": 0.0,
    "success": 0.4,
    "gap": 1e-6,
    "loss": 0.1,
    "optimism": 0.05,
    "probe_pass@1": 0.4,
    "probe_pass@8": 0.75,
    "at countdown:1": 0.4,
}


def run(rounds: int = 20, **late: float) -> list[Record]:
    """A healthy run whose second half has other numbers."""
    half = rounds // 2
    return [HEALTHY] * half + [HEALTHY | late] * (rounds - half)


@pytest.mark.parametrize(
    ("late", "name", "action", "words"),
    [
        ({"loss": math.nan}, "finite", Action.ROLL_BACK, "loss is not a finite number"),
        ({"gap": 0.01}, "gap", Action.STOP, "do not compute the same policy"),
        ({"entropy": 0.1}, "entropy", Action.WARN, "fallen from 0.300 to 0.100"),
        ({"entropy": 0.7}, "entropy", Action.WARN, "turning into noise"),
        ({"entropy": 0.01}, "entropy", Action.ROLL_BACK, "nothing new is tried"),
        ({"degenerate": 0.9}, "degenerate", Action.WARN, "90 % of the groups"),
        ({"degenerate": 1.0}, "degenerate", Action.STOP, "nothing is learned"),
        ({"length": 180.0, "length_pay": 0.8}, "length", Action.STOP, "pay for length"),
        ({"length": 220.0}, "length", Action.WARN, "from 100 to 220 tokens"),
        ({"repetition": 0.3}, "repetition", Action.WARN, "30 % of the blocks repeat"),
        ({"repetition": 0.7}, "repetition", Action.ROLL_BACK, "70 % of the blocks repeat"),
        ({"cut_off": 0.6}, "unfinished", Action.WARN, "no finished answer"),
        ({"undecided": 0.2}, "undecided", Action.WARN, "20 % of the samples could not be graded"),
        ({"undecided": 1.0}, "undecided", Action.STOP, "could not be graded"),
        ({"optimism": 0.33}, "optimism", Action.WARN, "33 points more success than there is"),
        ({"optimism": 0.5}, "optimism", Action.ROLL_BACK, "being exploited"),
        ({"success": 0.15}, "success", Action.ROLL_BACK, "from 40 to 15 %"),
        ({"probe_pass@8": 0.5}, "coverage", Action.WARN, "pass@8 on the probe problems has fallen from 75 to 50 %"),
    ],
)
def test_what_goes_wrong_is_said(late: dict[str, float], name: str, action: Action, words: str) -> None:
    (alarm,) = alarms(run(**late))
    assert (alarm.name, alarm.action) == (name, action) and words in alarm.sentence


def test_a_healthy_run_is_left_alone() -> None:
    for rounds in (1, 3, 5, 30):
        assert alarms(run(rounds)) == []
    assert alarms(run(30, success=0.8, length=160.0, entropy=0.2, degenerate=0.6)) == [], "it learns to think longer"
    assert alarms([{"degenerate": 1.0, "undecided": 0.0}]) == [], "a round of which little can be said"


def test_other_levels_are_no_loss() -> None:
    late = HEALTHY | {"success": 0.1, "at countdown:2": 0.1}
    assert alarms([HEALTHY] * 10 + [late] * 10) == [], "harder levels have opened"


def test_one_bad_round_is_no_drift() -> None:
    odd = HEALTHY | {"entropy": 0.02, "degenerate": 1.0, "length": 300.0, "repetition": 0.6, "cut_off": 0.9}
    assert alarms([*run(20), odd]) == []
    assert len(MONITORS) == 11
