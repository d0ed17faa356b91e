"""Checks of the blocks that ``linear_thoughts.py`` writes: each is judged by itself, whatever came before it."""

import re
from collections.abc import Mapping, Sequence

from ponder.tasks.linear import (
    ROWS,
    Equation,
    assigned,
    digit_work,
    linear_form,
    nines,
    read_equation,
    read_problem,
    read_sum,
    value_of,
)
from ponder.tasks.working import working_of
from ponder.types import Block, BlockCheck, Problem

MAX_TEXT = 2_000


def _restated(words: list[str], at: int) -> int:
    """How many words belong to the working that begins with the operands at `at`; ValueError where it is false."""
    whole = working_of(words[at])
    if whole is None or len(whole) == 1 or words[at : at + len(whole) - 1] != whole[:-1]:
        raise ValueError(f"false: {words[at][:60]}")
    last, rest = at + len(whole) - 1, words[at + len(whole) - 1 :]
    # A comparison begins with the result itself.
    if rest and (rest[0].startswith(f"{whole[-1]}=") or rest[:2] == [whole[-1], "not"]):
        return last - at
    if rest[:1] != [whole[-1]]:
        raise ValueError(f"false: {words[at][:60]}")
    return len(whole)


def _digit_found(words: list[str], summary: list[str]) -> None:
    """ValueError where words are not the working of a quotient's digit, or find it from other digits than these."""
    found = re.fullmatch(r"([0-9]{1,15})/([0-9]{1,15}) [0-9]{1,15}\*([0-9])(0*)[ =].*", " ".join(words))
    size = re.search(r"=-?([0-9]+) take", " ".join(summary))
    if not found:
        raise ValueError("finds no digit")
    # The last digit leaves nothing, so that its multiple is the whole size.
    whole = int(size[1]) if size else int(found[2]) * int(found[3] + found[4])
    if digit_work(whole, int(found[2]), int(found[3]), len(found[4])).split() != words:
        raise ValueError(f"not the digits of {whole}")


def _claims_of_work(words: list[str], solution: Mapping[str, int]) -> None:
    """ValueError where a piece of working is false or unreadable."""
    at = 0
    while at < len(words):
        word = words[at]
        if at + 2 < len(words) and words[at + 1] in ("not", "to"):
            a, b = read_sum(word), read_sum(words[at + 2])
            true = a != b if words[at + 1] == "not" else a == -b
            word, at = " ".join(words[at : at + 3]), at + 3
        elif re.search("[0-9][-+*]", word) and not re.search("[:>=]", word):
            at, true = at + _restated(words, at), True
        else:
            at += 1
            left, mark, right = next((p for m in ":>=" if (p := word.partition(m))[1]), (word, "", ""))
            if mark == ":" and left.isdigit():
                true = nines(int(left))[0] == word if len(left) < 16 else False
            elif mark == ":":
                true = read_sum(left) % 9 == read_sum(right)
            elif mark == ">":
                true = read_sum(left) > read_sum(right)
            elif mark == "=":
                true = (solution[left] if left in solution else read_sum(left)) == read_sum(right)
            else:
                # A side that is a number needs no working; beside working a number claims nothing.
                read_sum(word)
                true = len(words) == 1
        if not true:
            raise ValueError(f"false: {word[:60]}")


def _claims_of_step(head: str, words: list[str], summary: list[str], solution: Mapping[str, int]) -> None:
    """ValueError where the working is false, or not that of the step that the headline names."""
    step = head.removesuffix(" again")
    if step == "divide":
        _digit_found(words, summary)
        return
    moved = re.fullmatch("(take|add) ([0-9]+)", step)
    if not words or not (moved or step == "subtract"):
        _claims_of_work(words, solution)
        return
    whole = working_of(words[0]) or [words[0], words[0].rpartition("=")[2]]
    _claims_of_work(words[:1] if len(whole) == 2 else whole, solution)
    if words != whole[:-1]:
        raise ValueError(f"false: {words[0][:60]}")
    if moved and not words[0].partition("=")[0].endswith(f"{'-' if moved[1] == 'take' else '+'}{moved[2]}"):
        raise ValueError(f"does not {step[:40]}")
    if not any(word.endswith((f"={whole[-1]}", f"=-{whole[-1]}")) for word in summary):
        raise ValueError(f"{whole[-1][:40]} is not in the summary")


def _claims_of_state(words: list[str], block: Block, equations: list[Equation], solution: Mapping[str, int]) -> None:
    """ValueError where a summary says something false: an equation that the solution does not satisfy, a wrong sum."""
    names, given, last = tuple(solution), dict[str, int](), 0
    stated = re.sub("E[123]:", "", " ".join(words)).split()
    if not stated:
        raise ValueError("nothing is stated")
    verdict = stated[-1] if stated[-1] in ("ok", "no") else ""
    tentative = verdict == "no" or bool({"left", "product", "rest", *ROWS} & set(stated))
    row = next((r for r, name in enumerate(ROWS[: len(names)]) if name in block.headline), 0)
    at = 0
    while at < len(stated):
        word, after = stated[at], stated[at + 1] if at + 1 < len(stated) else ""
        at += 1
        if "=" in word:
            equation = read_equation(word)
            form = linear_form(equation, names) if set(re.findall("[a-z]", word)) <= set(names) else [0]
            if re.fullmatch("[a-z]=-?[0-9]+", word):
                given[word[0]] = int(word[2:])
            rest = sum(c * v for c, v in zip(form, [*solution.values(), 1], strict=False))
            if not any(form[:-1]) or (rest and not tentative):
                raise ValueError(f"does not follow: {word[:60]}")
            last = abs(value_of(equation[1], solution))
        elif word in ("take", "left", "product", "rest"):
            wanted = {
                "take": lambda: read_sum(re.split("[ =]", block.thoughts[block.thoughts.find(" ") + 1 :])[0]),
                "left": lambda: value_of(equations[row][0], given),
                "product": lambda: linear_form(equations[0], names)[0] * given[names[0]],
                "rest": lambda: abs(linear_form(equations[0], names)[0] * given[names[0]]) % 9,
            }[word]()
            product, equals, value = after.partition("=") if word == "take" else ("", "", after)
            if equals and (product not in block.thoughts.split(" ", 1)[-1] or read_sum(product) != read_sum(value)):
                raise ValueError(f"false: {after[:40]}")
            if read_sum(value) != wanted or (word == "take" and (not equals or wanted > last)):
                raise ValueError(f"wrong: {word} {after[:40]}")
            at += 1
        elif word in ROWS[: len(names)] and after == "ok":
            left, right = equations[ROWS.index(word)]
            if value_of(left, given) != value_of(right, given):
                raise ValueError(f"not true of the {word} equation")
            verdict, at = "", at + 1
        elif word != verdict or at != len(stated):
            raise ValueError(f"cannot read {word[:40]!r}")
    if verdict and (verdict == "ok") != (given == dict(solution)):
        raise ValueError(f"{assigned(given)} is not {verdict}")


def check_block(equations: list[Equation], solution: Mapping[str, int], block: Block) -> BlockCheck:
    """One block by itself: its working is true, and its summary holds at the solution or rightly says ``no``."""
    if max(len(block.thoughts), len(block.summary), len(block.headline)) > MAX_TEXT or not block.summary.split():
        return BlockCheck(valid=False, note="the block is empty or too long")
    try:
        _claims_of_state(block.summary.split(), block, equations, solution)
    except (ValueError, KeyError) as err:
        return BlockCheck(valid=False, winnable=False, note=f"summary: {err}")
    try:
        _claims_of_step(block.headline, block.thoughts.split(), block.summary.split(), solution)
    except ValueError as err:
        return BlockCheck(valid=False, winnable=True, note=f"thoughts: {err}")
    return BlockCheck(valid=True, winnable=True)


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Judges each block by itself."""
    equations, _, solution = read_problem(problem.data)
    return tuple(check_block(equations, solution, block) for block in blocks)
