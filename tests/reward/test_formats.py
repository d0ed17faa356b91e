"""Readers of step labels: real lines give what stands in them, and anything else one error of ours."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import ConfigError, ProblemError
from ponder.reward.formats import FORMATS, LabelledSteps, Neutral, read_line, read_steps

DATA = Path(__file__).parent / "data"


def read(name: str, **options: Any) -> list[LabelledSteps]:
    return list(read_steps(DATA / f"{name}.jsonl", **options))


def of_line(found: list[LabelledSteps], line: int) -> list[LabelledSteps]:
    return [one for one in found if one.line == line]


def test_prm800k_follows_the_labeller_and_keeps_what_was_not_chosen() -> None:
    found = read("prm800k")
    assert [len(of_line(found, line)) for line in range(1, 7)] == [10, 4, 7, 7, 7, 1]
    assert all(len(one.steps) == len(one.labels) for one in found)
    assert all(one.right is None for line in range(1, 7) for one in of_line(found, line)[1:]), "nobody ended these"
    second = of_line(found, 2)
    assert second[0].right is False and second[0].labels == (True,) * 6 + (False,) and second[0].first_error == 6
    third = of_line(found, 3)  # the labeller took the second of seven; the first one, neutral, was not right enough
    assert third[0].right is True and third[0].steps[-1] == "Exactly.\n\n# Answer\n\n468"
    fourth = of_line(found, 4)
    assert fourth[0].labels == (True,) * 7 and fourth[0].right is True
    assert [one.first_error for one in fourth[1:]] == [5, 5, -1, -1, 5, -1]


def test_prm800k_steps_that_the_labeller_wrote_count_as_right() -> None:
    first = of_line(read("prm800k"), 1)
    whole = first[0]
    assert whole.answer == "29" and whole.right is True and whole.labels == (True,) * 6
    assert whole.steps[1] == "We have $3p+e=1.24$ and $5p+e=1.82$."  # rated null, for it is the labeller's own
    assert [one.labels for one in first[1:6]] == [(True, False)] * 5  # the five that were rejected for it
    assert [len(one.steps) for one in first[6:]] == [6] * 4
    assert whole.steps[:5] == first[6].steps[:5] and whole.steps[5] != first[6].steps[5]


def test_prm800k_ends_where_completions_are_null_and_where_nothing_is_known_of_the_end() -> None:
    found = read("prm800k")
    fifth = of_line(found, 5)
    assert fifth[0].right is None and len(fifth[0].steps) == 8, "given up: neither right nor wrong"
    assert fifth[0].steps[-1].startswith("By symmetry") and fifth[0].answer == "1+2\\sqrt{3}"
    assert [one.labels for one in fifth[1:]] == [(True,) * 7 + (False,)] * 6
    (sixth,) = of_line(found, 6)
    assert sixth.answer is None and sixth.right is True and sixth.labels == (True,) * 12


@pytest.mark.parametrize(
    ("neutral", "label"), [(Neutral.RIGHT, True), (Neutral.WRONG, False), (Neutral.LEFT_OUT, None)]
)
def test_neutral_ratings_count_as_one_wants(neutral: Neutral, label: bool | None) -> None:
    first, second, third = (of_line(read("prm800k", neutral=neutral), line) for line in (1, 2, 3))
    assert second[0].labels[1] is label  # "I wonder how many …", rated 0
    assert second[0].labels[0] is True
    assert first[6].labels[5] is label and first[7].labels[5] is True
    assert third[0].labels[4] is True and third[1].labels[4] is label, "of these the second was chosen"
    others = [one.labels for line in (4, 5, 6) for one in of_line(read("prm800k", neutral=neutral), line)]
    assert others == [one.labels for line in (4, 5, 6) for one in of_line(read("prm800k"), line)], "none is neutral"


def test_math_shepherd_reads_the_tags() -> None:
    found = read("math_shepherd")
    labels = [[1, 1, 1, 1, 0], [0, 0, 0], [0, 0], [0] * 5, [1, 0, 0, 0, 0], [0, 0], [0, 0, 0]]
    assert [[int(label is True) for label in one.labels] for one in found] == labels
    assert [one.line for one in found] == list(range(1, 8)) and {one.right for one in found} == {False}
    assert [one.first_error for one in found] == [4, 0, 0, 0, 1, 0, 0]
    assert all(one.steps[0].startswith("Step 1: ") and one.prompt.endswith("?") for one in found)
    assert found[0].steps[0].startswith("Step 1: Janet") and found[0].prompt.endswith("in a year?")
    assert found[4].steps[-1].endswith("The answer is: 52")
    assert not any("ки" in step for one in found for step in one.steps)


def test_math_aps_gives_the_paths_of_its_trees() -> None:
    found = read("math_aps")
    trees = [of_line(found, line) for line in (1, 2, 3)]
    assert [len(tree) for tree in trees] == [81, 7, 36]
    assert [{one.answer for one in tree} for tree in trees] == [{"64"}, {"4"}, {r"\frac{11}{36}"}]
    assert [max(len(one.steps) for one in tree) for tree in trees] == [4, 3, 3]
    assert [{one.start for one in tree} for tree in trees] == [{0.75}, {0.1875}, {0.375}], "the question's own share"
    assert all(one.right is None for one in found)
    assert all(one.labels == tuple(bool(value) for value in one.values) for one in found)
    (lost,) = (one for one in trees[0] if len(one.steps) == 4 and one.labels[-1] is False)
    assert lost.values == (0.9375, 0.625, 0.046875, 0.0) and lost.first_error == 3


def test_math_aps_cuts_what_its_leaves_say_and_averages_what_was_tried_twice() -> None:
    for number, line in enumerate((DATA / "math_aps.jsonl").read_text(encoding="utf-8").splitlines(), 1):
        record, found = json.loads(line), of_line(read("math_aps"), number)
        texts = {"".join(node["solution_prefix"].split()) for node in record["reasoning_steps"]}
        assert all("".join((record["question"] + "".join(one.steps)).split()) in texts for one in found)
        distinct = {node["solution_prefix"] for node in record["reasoning_steps"]}
        assert len(distinct) < len(record["reasoning_steps"]), "no prefix was tried twice: this checks nothing"
    twice = {"question": "q", "reasoning_steps": [{"solution_prefix": "q a", "mc_value": one} for one in (0, 0.5)]}
    assert read_line(json.dumps(twice).encode())[1][0].values == (0.25,)


def test_processbench_knows_nothing_behind_the_first_error() -> None:
    wrong, right = read("processbench")
    assert wrong.labels == (True, False, None) and wrong.right is False and wrong.first_error == 1
    assert right.labels == (True, True) and right.right is True and right.first_error == -1


def test_plain_lines() -> None:
    first, second = read("plain")
    assert first.labels == (True, False) and first.right is None and first.line == 1
    assert second.labels == (True, None) and second.answer == "2" and second.right is True and second.line == 2


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_told_by_the_first_line(name: str) -> None:
    line = (DATA / f"{name}.jsonl").read_bytes().splitlines()[0]
    assert read_line(line) == read_line(line, name)
    assert read_line(line)[0] == name


def test_errors_name_file_line_and_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    good = (DATA / "plain.jsonl").read_text(encoding="utf-8").splitlines()[0]
    for bad, words in (
        ('{"prompt": "x", "completions": ["a"], "labels": []}', "0 labels for 1 completions"),
        ('{"prompt": "x", "completions": ["a"], "labels": ["yes"]}', "label 0 must be true, false or null, not a text"),
        ('{"prompt": "x", "completions": "a", "labels": []}', "completions must be a list, not a text"),
        ('{"problem": "x", "steps": ["a"], "label": 0}', "prompt|completions is missing"),
        ("[1]", "not an object but a list"),
        ("{", "not JSON"),
    ):
        path.write_text(f"{good}\n\n{bad}\n", encoding="utf-8")
        with pytest.raises(ProblemError, match=rf"steps\.jsonl line 3: .*({words})"):
            list(read_steps(path))
    path.write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(ProblemError, match=r"line 1: no known format has the keys \['a'\]: expected prm800k"):
        list(read_steps(path))
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ProblemError, match="has no step labels"):
        list(read_steps(path))
    with pytest.raises(ProblemError, match="cannot be read"):
        list(read_steps(tmp_path / "none"))
    with pytest.raises(ConfigError, match="unknown format 'x'"):
        list(read_steps(path, "x"))


def test_labels_that_do_not_fit_their_solution_are_refused() -> None:
    for name, line, words in (
        ("math_shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: b +"}, "is not the input"),
        ("math_shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: a ?"}, "is not the input"),
        ("math_shepherd", {"input": "q Step 1: a", "label": "q Step 1: a"}, "no steps"),
        ("math_shepherd", {"input": "a ки", "label": "a +"}, "where its steps begin"),
        ("processbench", {"problem": "p", "steps": ["a"], "label": 1}, "label is 1"),
        ("math_aps", {"question": "q", "reasoning_steps": [{"solution_prefix": "x", "mc_value": 1}]}, "does not begin"),
        ("math_aps", {"question": "q", "reasoning_steps": [{"solution_prefix": "qx", "mc_value": 2}]}, "a share"),
    ):
        with pytest.raises(ProblemError, match=f"not {name}: .*{words}"):
            read_line(json.dumps(line).encode(), name)


MOST = 12_000
"""Bytes of a line that is changed again and again."""


def short(line: bytes) -> bytes:
    """The line, of a tree only its first nodes."""
    record = json.loads(line)
    while len(line) > MOST:
        record["reasoning_steps"].pop()
        line = json.dumps(record).encode()
    return line


LINES = [short(line) for name in FORMATS for line in (DATA / f"{name}.jsonl").read_bytes().splitlines()]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in pairs for found in places(inner, (*path, key)))]


@given(st.sampled_from(LINES), st.data())
def test_a_line_with_anything_changed_is_read_or_refused(line: bytes, data: st.DataObject) -> None:
    record = json.loads(line)
    where = data.draw(st.sampled_from(places(record)[1:]))
    *parents, key = where
    inner = record
    for parent in parents:
        inner = inner[parent]
    if data.draw(st.booleans()):
        inner[key] = data.draw(JSON)
    else:
        del inner[key]
    name = data.draw(st.sampled_from([None, *FORMATS]))
    try:
        format, found = read_line(json.dumps(record).encode(), name, data.draw(st.sampled_from(Neutral)))
    except ProblemError:
        return
    assert format in FORMATS
    for one in found:
        assert len(one.steps) == len(one.labels) and all(isinstance(step, str) for step in one.steps)
        assert all(label in (True, False, None) for label in one.labels)


@given(
    st.binary(max_size=60) | st.sampled_from(LINES).flatmap(lambda line: st.integers(0, 200).map(lambda n: line[:n]))
)
def test_a_line_of_anything_is_read_or_refused(line: bytes) -> None:
    with contextlib.suppress(ProblemError):
        read_line(line)
