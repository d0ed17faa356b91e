"""The goals of the server under load: what misses one is named, and memory that climbs misses its own."""

from typing import Any

import pytest

from benchmarks.serve import climb, growth, missed, section

FOUND: dict[str, Any] = {
    "commit": "abc",
    "machine": "x86_64",
    "seconds": 120,
    "repeats": 1,
    "threads": 2,
    "served": {
        "clients": 500,
        "streams": 1000,
        "wrong": {},
        "other_than_the_engines": 0,
        "first_summary_s": {"p50": 1.0, "p99": 2.0},
        "first_answer_s": {},
        "whole_s": {"p50": 9.0, "p99": 12.0},
        "tokens_a_stream": 250.0,
        "tokens_a_second": 9000,
        "own_tokens_a_second": 10000,
        "share_of_own": {"median": 0.9, "min": 0.88, "max": 0.91},
        "memory_mb": {"start": 400, "middle": 600, "end": 610, "most": 620},
        "memory_growth": 1.02,
        "memory_climb": 1.01,
        "cpu_ms_a_stream": {"server": 1.0, "clients": 0.1, "engine by itself": 0.9},
        "clients_cpu_share": 0.02,
    },
    "transformers": {"24": {"ponder": 9000, "transformers": 900, "ratio": {"median": 10.0, "min": 9.0, "max": 11.0}}},
}


def test_memory_is_flat_where_the_second_half_needs_no_more() -> None:
    assert growth([400, 700, 705, 690, 700, 500]) < 1.0, "it fills up, stays, and is given back"
    assert growth([400, 500, 600, 700, 800, 900]) == 1.5
    assert growth([400, 1400, 600, 700, 800, 900]) < 1.0 and growth([500.0]) == 1.0
    assert climb([400, 500, 600, 700, 800, 900]) == 850 / 650 and climb([500.0]) == 1.0
    assert climb([400, 500, 700, 1400, 700, 700, 1400, 710, 700]) < 1.02, "it doubles for a moment"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_growth": 1.11}, "memory in a load's second half: 1.11 of the first, goal 1.1"),
        ({"memory_climb": 1.11}, "memory in a load's end: 1.11 of its middle, goal 1.1"),
        ({"share_of_own": {"median": 0.84}}, "the engine by itself: 0.84, goal 0.85"),
        ({"wrong": {"lost: the server hung up": 2}}, "2 streams: lost: the server hung up"),
    ],
)
def test_a_goal_that_is_missed_is_named(change: dict[str, Any], said: str) -> None:
    assert missed(FOUND) == []
    (one,) = missed(FOUND | {"served": FOUND["served"] | change})
    assert one.endswith(said)
    assert missed(FOUND | {"transformers": {"24": {"ratio": {"median": 4.9}}}})[0].endswith("24 clients: 4.9, goal 5")


def test_the_goals_stand_in_the_table() -> None:
    rows = [line for line in section(FOUND).splitlines() if line.startswith("|")]
    goals = [row.split("|")[-2].strip() for row in rows if "≥" in row or "≤" in row]
    assert goals == ["≥ 0.85", "≥ 5", "≤ 1.1", "≤ 1.1"]
