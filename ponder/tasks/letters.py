"""Letters: how often a letter occurs in a text, upper or lower case.

A thought takes three words a block, spells each one out in capitals and counts on behind each hit: for the letter s
with two hits so far, ``S=2: shastut S3HAS4TUT``; the summary ``S=4`` is the last count. Words are repeated exactly as
they stand in the text, with the space before them, because a tokenizer cuts a word differently without it.
"""

import re
from collections.abc import Sequence
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import read_integer
from ponder.tasks.words import NAMES, common_word, long_word, pseudo_word
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

AT_ONCE = 3
"""Words per block."""
AGAIN = "again:"
"""Before a headline whose words are spelled a second time; the colon cannot occur in a text."""
MAX_TEXT = 4_000
_WORDS = {1: (2, 5), 2: (5, 15), 3: (16, 40), 4: (41, 80)}
_TOTAL = re.compile(r".=([0-9]{1,4})")


def _count(letter: str, words: Sequence[str]) -> int:
    return sum(word.lower().count(letter) for word in words)


def _capital(c: str) -> str:
    """A capital is one token whatever stands around it."""
    return c.upper() if len(c.upper()) == 1 else c


def _spell(letter: str, words: Sequence[str], count: int, missed: int = -1) -> str:
    """The count so far, then every word with its letters after it, and the new count behind each hit.

    Hit number `missed` is passed over. A word with digits is spelled with spaces, that counts stay apart from it.
    """
    text, hits = f"{_capital(letter)}={count}:", 0
    for word in words:
        apart = any(c.isdigit() for c in word)
        spelled: list[str] = []
        for c in word.strip(" ").lower():
            spelled.append(_capital(c))
            if c == letter:
                count += hits != missed
                spelled[-1] += ("=" if apart else "") + str(count) if hits != missed else ""
                hits += 1
        text += f"{word} {(' ' if apart else '').join(spelled)}"
    return text


def _group(words: Sequence[str], start: int, count: int) -> list[str]:
    """Some words as they stand in the text: each with the space before it, but for the text's first one."""
    return [" " * (index > 0) + words[index] for index in range(start, min(start + count, len(words)))]


def _block(letter: str, words: Sequence[str], before: int, lead: str = "") -> Block:
    return Block(
        lead + "".join(words),
        _spell(letter, words, before),
        f"{_capital(letter)}={before + _count(letter, words)}",
    )


def _slip(letter: str, words: Sequence[str], before: int, rng: Random) -> Block:
    """A block with a slip: a hit that was passed over, or, where there is none or by chance, a wrong last count."""
    right = _block(letter, words, before)
    hits = _count(letter, words)
    if hits and rng.random() < 0.7:
        thoughts = _spell(letter, words, before, rng.randrange(hits))
        return Block(right.headline, thoughts, f"{_capital(letter)}={before + hits - 1}")
    wrong = before + hits + (rng.choice((-1, 1)) if before + hits else 1)
    return Block(right.headline, right.thoughts, f"{_capital(letter)}={wrong}")


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """A thought of the given style that ends in the number of hits."""
    letter, words = problem.data["letter"], problem.data["text"].split()
    if style is Style.DIRECT:
        return Demonstration((), answer(problem.data))
    groups = [_group(words, start, AT_ONCE) for start in range(0, len(words), AT_ONCE)]
    slip = rng.randrange(len(groups)) if style is Style.CORRECTED else -1
    doubts = rng.sample(range(len(groups)), min(len(groups), 2)) if style is Style.WANDERING else [slip]
    blocks, total = [], 0
    for index, group in enumerate(groups):
        blocks.append(_slip(letter, group, total, rng) if index == slip else _block(letter, group, total))
        if index in doubts:
            blocks.append(_block(letter, group, total, AGAIN))
        total += _count(letter, group)
    return Demonstration(tuple(blocks), answer(problem.data))


def _position(words: Sequence[str], here: Sequence[str], near: int) -> int | None:
    """Where the words of a headline begin in the text: at `near` if they do, else at their first occurrence."""
    for start in (near, *range(len(words) - len(here) + 1)):
        if here and list(words[start : start + len(here)]) == list(here):
            return start
    return None


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """A block is valid if it spells the next words (or the same again) rightly and adds to the count before it.

    A wrong count is not winnable once it has become the basis of a further block; until then spelling again mends it.
    """
    letter, words = problem.data["letter"], problem.data["text"].split()
    checks: list[BlockCheck] = []
    start, end, before, total = 0, 0, 0, 0
    for block in blocks:
        again = block.headline.startswith(AGAIN) and bool(checks)
        here = block.headline.removeprefix(AGAIN).split()
        expected_start, basis = (start, before) if again else (end, total)
        found = _position(words, here, expected_start)
        right = _block(letter, _group(words, expected_start, len(here)), basis, AGAIN if again else "")
        valid = found == expected_start and block == right
        valid = valid and (not again or expected_start + len(here) == end)
        if found is not None:
            start, end = found, found + len(here)
        stated = _TOTAL.fullmatch(block.summary)
        before, total = basis, int(stated[1]) if stated else total
        based = before == _count(letter, words[:start])
        winnable = True if based and total == _count(letter, words[:end]) else None if based else False
        checks.append(BlockCheck(valid, winnable, "" if valid else "not the next words spelled and counted rightly"))
    return tuple(checks)


def _style_of(word: str, rng: Random) -> str:
    """Mostly lower case, sometimes a capital, seldom all capitals."""
    chance = rng.random()
    return word.upper() if chance < 0.01 else word.capitalize() if chance < 0.08 else word


def _word(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.03:
        return rng.choice(NAMES)
    if kind < 0.05:
        return str(rng.choice((rng.randint(1, 99), rng.randint(1800, 2900))))
    make = common_word if kind < 0.43 else long_word if kind < 0.68 else pseudo_word
    return _style_of(make(rng), rng)


def draw(level: int, rng: Random) -> Data:
    """A text, half of it words that hardly exist, and a letter that mostly occurs in it."""
    words = [_word(rng) for _ in range(rng.randint(*_WORDS[level]))]
    present = sorted({c for c in "".join(words).lower() if c.isalpha() or rng.random() < 0.2})
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz") if rng.random() < 0.08 or not present else rng.choice(present)
    return {"letter": letter, "text": " ".join(words)}


def canonical(data: Data) -> str:
    """Letter and text; upper and lower case are the same problem."""
    return f"{data['letter']}|{data['text'].lower()}"


def answer(data: Data) -> str:
    """The number of times that the letter occurs."""
    return str(_count(data["letter"], data["text"].split()))


def grade(problem: Problem, text: str) -> Grade:
    """Right when the text is the one right number."""
    gold = _count(problem.data["letter"], problem.data["text"].split())
    try:
        value = read_integer(text, ("count", problem.data["letter"]))
    except AnswerUnreadable as err:
        return Grade(0.0, str(err))
    return Grade(1.0) if value == gold else Grade(0.0, f"{problem.data['letter']!r} occurs {gold} times, not {value}")


def validate(data: Data) -> Data:
    """A user's letter and text, checked; the text may hold letters, digits and spaces."""
    letter, text = data.get("letter"), data.get("text")
    if not isinstance(letter, str) or len(letter) != 1 or not letter.isalnum() or len(letter.lower()) != 1:
        raise ProblemError(f"letter must be one letter or digit, not {letter!r:.60}")
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
        raise ProblemError(f"text must be 1 to {MAX_TEXT} characters, not {text!r:.60}")
    strange = next((c for c in text if not c.isalnum() and c != " "), None)
    if strange is not None:
        raise ProblemError(f"text may hold letters, digits and spaces, not {strange!r}")
    return {"letter": letter.lower(), "text": " ".join(text.split())}


LETTERS = Task(
    name="letters",
    title="How often a letter occurs in a text.",
    levels={1: "2 to 5 words", 2: "5 to 15 words", 3: "16 to 40 words", 4: "41 to 80 words"},
    draw=draw,
    canonical=canonical,
    phrasings=(
        lambda data: f'How many times does the letter "{data["letter"]}" appear in the text: "{data["text"]}"?',
        lambda data: f'Count the letter {data["letter"]} in "{data["text"]}".',
        lambda data: f'How many {data["letter"]}\'s are in "{data["text"]}"?',
        lambda data: f'"{data["text"]}"\nHow often does {data["letter"]} occur?',
    ),
    answer=answer,
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="letter_counting",
)
