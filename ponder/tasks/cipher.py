"""Cipher: one solved example (or only the word "Caesar"), then a text to decode; all in capitals.

A thought finds the method on the example and then decodes one word a block; ``cipher_steps`` says how that is written.
"""

from collections.abc import Iterator, Sequence
from random import Random

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain as bare
from ponder.tasks.cipher_steps import (
    MAX_TEXT,
    METHODS,
    MULTIPLIERS,
    TESTED,
    decode,
    encode,
    key_of,
    letter_at,
    listing,
    methods_for,
    name_of,
    pivot_of,
    position,
    proof_of,
    search,
    shift_down,
    steps_of,
    test_block,
    test_blocks,
    written,
)
from ponder.tasks.words import WORD_SET, common_word, long_word, pseudo_word
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

# --- whole thoughts ----------------------------------------------------------------------------------------------


def _word_block(data: Data, index: int, lead: str = "") -> Block:
    """Decodes word number `index`; the summary gives all words so far."""
    word, method, key = data["cipher"].split()[index], data["method"], key_of(data)
    done = " ".join(data["plain"].split()[: index + 1])
    return Block(f"{lead}{word}", written(method, steps_of(method, key, word)), f"{name_of(method, key)} {done}")


def _check_block(data: Data, plain: str) -> Block:
    """Encodes the last word again and compares it with the cipher text."""
    method, key = data["method"], key_of(data)
    proof = proof_of(method, key, data["cipher"].split()[-1], plain.split()[-1])
    if plain == data["plain"]:
        return Block("check", proof, f"{plain} ok")
    return Block("check", f"{proof} no", f"{name_of(method, key)} {plain} wrong")


def _find(data: Data, rng: Random, wander: bool) -> list[Block]:
    """The blocks from the prompt to the method and its key."""
    if data["example"] is None:
        words, shift = data["cipher"].split(), data["key"][0]
        pivot = pivot_of(words)
        blocks = list(search(pivot, shift))
        others = [word for word in words if len(word) == len(pivot) and word != pivot]
        if wander and others and blocks[0].summary.startswith("not"):  # begins on another word, then gives it up
            blocks = [next(search(rng.choice(others), shift)), *blocks]
        return blocks
    order = methods_for(data)
    start = rng.randrange(1, len(order)) if wander else 0
    blocks = []
    for method in [*order[start:], *order[:start]]:
        blocks += test_blocks(data, method)
        if method == data["method"]:
            break
    return blocks


def _slip_letter(data: Data, index: int, rng: Random) -> Block:
    """The word block with one wrong letter, a neighbour of the right one."""
    word, key = data["cipher"].split()[index], key_of(data)
    steps = steps_of(data["method"], key, word)
    at = rng.randrange(len(steps))
    wrong = letter_at(position(steps[at][1]) + rng.choice((-1, 1)))
    steps[at] = (wrong if data["method"] == "reversed" else steps[at][0], wrong)
    so_far = [*data["plain"].split()[:index], "".join(letter for _, letter in steps)]
    return Block(word, written(data["method"], steps), f"{name_of(data['method'], key)} {' '.join(so_far)}")


def _slip_shift(data: Data, found: Sequence[Block], rng: Random) -> list[Block]:
    """A wrong shift, the unreadable first word that it gives, and the search again."""
    first, shift = data["cipher"].split()[0], data["key"][0]
    wrong = shift % 25 + 1
    start, again = [Block(found[0].headline, found[0].thoughts, f"shift {wrong}")], list(found)
    if data["example"] is None:  # takes a version of the word that does not read, and goes on from there
        wrong = rng.randint(max(1, shift - 4), max(1, shift - 1))
        pivot = pivot_of(data["cipher"].split())
        start, again = list(search(pivot, wrong)), list(search(pivot, shift, wrong - 1))
    bad = Block(
        first, written("caesar", steps_of("caesar", [wrong], first)), f"shift {wrong} {shift_down(first, wrong)}"
    )
    return [*start, bad, *again]


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """A thought of the given style that ends in the plain text."""
    data = problem.data
    if style is Style.DIRECT:
        return Demonstration((), data["plain"])
    wander, count, slip = style is Style.WANDERING, len(data["plain"].split()), -1
    blocks = _find(data, rng, wander)
    if style is Style.CORRECTED:
        if data["method"] == "caesar" and (data["example"] or data["key"][0] > 1) and rng.random() < 0.5:
            blocks = _slip_shift(data, blocks, rng)
        else:
            slip = rng.randrange(count)
    for index in range(count):
        if index == slip:
            blocks.append(_slip_letter(data, index, rng))
            if index == count - 1:
                blocks.append(_check_block(data, " ".join(_state(data, blocks[-1].summary) or ())))
        else:
            blocks.append(_word_block(data, index))
        if index == slip or (wander and rng.random() < 1 / count):  # wandering reads a right word once more
            blocks.append(_word_block(data, index, "again "))
    return Demonstration((*blocks, _check_block(data, data["plain"])), data["plain"])


# --- checking ----------------------------------------------------------------------------------------------------


def _state(data: Data, summary: str) -> list[str] | None:
    """The words that a summary gives as decoded, or None where it does not name the true method and key."""
    name = name_of(data["method"], key_of(data))
    if summary != name and not summary.startswith(name + " "):
        return None
    return summary.removeprefix(name).removesuffix(" wrong").split()


def _number(text: str, low: int, high: int) -> int:
    """A number in a summary, or `low` where there is none within the limits."""
    good = text.isascii() and text.isdigit() and len(text) <= 3 and low <= int(text) <= high
    return int(text) if good else low


def _right_finds(data: Data, headline: str, before: Block | None) -> Iterator[Block]:
    """Every block of that headline that tests or searches without a mistake."""
    last = (before.summary.split() if before else []) or [""]
    if data["example"] is not None:
        method = headline.removeprefix("test ")
        if method in METHODS and headline.startswith("test "):
            follows = before is not None and before.headline == headline and last[:2] == ["not", "to"]
            after = _number(last[-1], 0, MULTIPLIERS[-1] - 1) if follows and method == "affine" else 0
            for size in range(1, len(data["example"][1]) + 1):
                yield test_block(data, method, size if method != "affine" else TESTED, after, size)
        return
    word, shift = headline.removeprefix("try "), data["key"][0]
    if headline.startswith("try ") and word in data["cipher"].split():
        after = 0
        if before is not None and before.headline == headline and last[:2] == ["not", "to"]:
            after = (position(word[0]) - position(last[-1][0])) % 26
        elif last[0] == "shift" and len(last) > 1:
            after = _number(last[1], 1, 25) - 1
        for count in range(1, 26 - after):
            here = after < shift <= after + count
            if not here or shift == after + count:
                yield listing(word, after, count, shift if here else None)


def _check_one(data: Data, block: Block, before: Block | None) -> BlockCheck:
    """Valid means: the very block that a faultless solver could write after the one before."""
    name, words = name_of(data["method"], key_of(data)), data["plain"].split()
    for right in _right_finds(data, block.headline, before):
        false = (
            right.summary != name if not right.summary.startswith("not") else right.summary == f"not {data['method']}"
        )
        if right == block and not false:
            return BlockCheck(True, True)
    known = _state(data, before.summary) if before else None
    if known is not None and known == words[: len(known)] and block.headline != "check":
        expected = [_word_block(data, len(known))] if len(known) < len(words) else []
    elif block.headline == "check" and known and len(known) == len(words):
        expected = [_check_block(data, " ".join(known))]
    else:
        expected = []
    if known and len(known) <= len(words) and known[:-1] == words[: len(known) - 1]:
        expected.append(_word_block(data, len(known) - 1, "again "))
    if block in expected:
        return BlockCheck(True, True)
    claimed = _state(data, block.summary) or []
    lost = claimed[:-1] != words[: max(0, len(claimed) - 1)]
    return BlockCheck(False, False if lost else None, "not what follows from the text and the block before")


def check_blocks(problem: Problem, blocks: Sequence[Block]) -> tuple[BlockCheck, ...]:
    """Each block is rendered again from the truth and the state before it; any difference makes it invalid.

    An invalid block is not winnable when it leaves a wrong word behind that no later block returns to.
    """
    befores = [None, *blocks][: len(blocks)]
    return tuple(_check_one(problem.data, block, before) for block, before in zip(blocks, befores, strict=True))


# --- problems ----------------------------------------------------------------------------------------------------

_SHAPES = {1: (1, 3, 3, 14, 7), 2: (2, 4, 8, 18, 7), 3: (3, 5, 14, 24, 9), 4: (3, 6, 16, 28, 9)}
"""Level to words from, to, letters from, to, and the longest word, when there is an example."""
_GYM_SHAPES = {1: (3, 3, 8, 14, 7), 2: (3, 6, 9, 30, 12), 3: (5, 8, 18, 40, 12)}
"""The same for Caesar texts like reasoning-gym's: three words or more, some of them long."""
_LONGEST_GYM = {1: 50, 2: 66, 3: 90}
"""Characters of their longest block."""
_GYM_SHARE, _BARE_SHARE = 0.4, 0.7
"""How many texts are like that, and how many of these have no example."""


def _word(rng: Random, longest: int) -> str:
    """Mostly a common word; now and then one that does not exist, or a long one where there is room."""
    kind = rng.random()
    if kind < 0.1:
        return pseudo_word(rng, 3, 7)
    return long_word(rng, longest) if kind < 0.35 and longest > 9 else common_word(rng, 1, longest)


def _text(shape: Sequence[int], rng: Random) -> str:
    """Distinct words, about half of them function words, a few of them no words at all."""
    while True:
        words = [_word(rng, shape[4]).upper() for _ in range(rng.randint(shape[0], shape[1]))]
        if shape[2] <= sum(map(len, words)) <= shape[3] and len(set(words)) == len(words):
            return " ".join(words)


def _settled(data: Data, letters: int) -> bool:
    """Whether the example contradicts every method but the right one within its first `letters` letters."""
    wrong = [method for method in METHODS if method not in ("affine", data["method"])]
    rows = list(test_blocks(data, "affine"))
    return all(test_block(data, method, letters).summary.startswith("not") for method in wrong) and (
        rows[-1].summary == name_of(data["method"], key_of(data)) or rows[-1].summary.startswith("not")
    )


def _readable(data: Data) -> bool:
    """Whether the search on the pivot finds the shift: the first version that is a word is the right one."""
    pivot = pivot_of(data["cipher"].split())
    return next((s for s in range(1, 26) if shift_down(pivot, s).lower() in WORD_SET), 0) == data["key"][0]


def _fits(data: Data, limit: int) -> bool:
    """Whether every block stays short: characters bound tokens from above but for the few words in them."""
    last = len(data["plain"].split()) - 1
    blocks = [*(_word_block(data, index) for index in range(last + 1)), _check_block(data, data["plain"])]
    return all(len(block.headline + block.thoughts + block.summary) <= limit for block in blocks)


def draw(level: int, rng: Random) -> Data:
    """A text in a cipher that its example settles, or without one a Caesar text whose pivot reads only one way."""
    while True:
        method, key = rng.choice(METHODS[: {1: 1, 2: 3, 3: 4}.get(level, 5)]), None
        like_gym = level in _GYM_SHAPES and rng.random() < _GYM_SHARE
        without = like_gym and rng.random() < _BARE_SHARE
        if like_gym or method == "caesar":
            method, key = "caesar", [rng.randint(1, 25)]
        elif method == "affine":
            key = [rng.choice(MULTIPLIERS), rng.randint(0, 25)]
        text = _text((_GYM_SHAPES if like_gym else _SHAPES)[level], rng)
        example = _text((1, 2, 4, 8, 7), rng)
        cipher, encoded = (
            " ".join(encode(method, key or (), word, rng) for word in line.split()) for line in (text, example)
        )
        data = {"method": method, "key": key, "example": [encoded, example], "cipher": cipher, "plain": text}
        if not _fits(data, _LONGEST_GYM[level] if like_gym else 50 if level <= 2 else 66):
            continue
        if without and _readable(data):
            return {**data, "example": None}
        if not without and len(example.split()[0]) >= TESTED and _settled(data, TESTED):
            return data


def canonical(data: Data) -> str:
    """The same text in the same cipher is the same problem, whatever the example says."""
    return f"{data['cipher']}>{data['plain']}"


def _gym(data: Data) -> str:
    ask = "Provide only the decrypted text as your final answer."
    if data["example"] is None:
        return f"Decrypt this Caesar cipher text: {data['cipher']}. {ask}"
    return f"{data['example'][0]} -> {data['example'][1]}\nDecrypt this cipher text: {data['cipher']}. {ask}"


def _like_o1(data: Data) -> str:
    if data["example"] is None:
        return f"Decode this Caesar cipher:\n\n{data['cipher']}"
    first, second = data["example"]
    return f"{first} -> {second}\n\nUse the example above to decode:\n\n{data['cipher']}"


def _question(data: Data) -> str:
    if data["example"] is None:
        return f"What does {data['cipher']} say? It is a Caesar cipher with an unknown shift."
    return f"If {data['example'][0]} means {data['example'][1]}, what does {data['cipher']} mean?"


def _short(data: Data) -> str:
    if data["example"] is None:
        return f"Caesar cipher, find the shift: {data['cipher']}"
    return f"Example: {data['example'][0]} = {data['example'][1]}. Decode {data['cipher']}"


def grade(problem: Problem, text: str) -> Grade:
    """Right when it is the plain text and nothing else; upper or lower case and spacing do not matter."""
    gold = problem.data["plain"]
    try:
        body = bare(text)
    except AnswerUnreadable as err:
        return Grade(0.0, str(err))
    # The plain text itself may begin with words that `bare` takes for a lead-in, such as THE ANSWER.
    for reading in (body, text.strip()):
        if reading.isascii() and " ".join(reading.upper().split()) == gold:
            return Grade(1.0)
    return Grade(0.0, f"the text says {gold!r}, the answer is {body[:60]!r}" if body else "the answer is empty")


def _line(value: object, what: str) -> str:
    """A text of words in capitals."""
    if not isinstance(value, str):
        raise ProblemError(f"{what} must be a text, not {value!r:.60}")
    line = " ".join(value.split())
    if not line or len(line) > MAX_TEXT or not all(c == " " or (c.isascii() and c.isalpha()) for c in line):
        raise ProblemError(f"{what} must be 1 to {MAX_TEXT} letters A-Z and spaces, not {value!r:.60}")
    return line.upper()


def _solve(pairs: Sequence[tuple[str, str]], methods: Sequence[str]) -> tuple[str, list[int] | None] | None:
    """The first method and key that turn each cipher word into its plain word."""
    gap = position(pairs[0][0][0]) - position(pairs[0][1][0])
    keys: dict[str, list[list[int] | None]] = {"caesar": [[gap % 26]] if gap else [], "affine": []}
    for a in MULTIPLIERS:
        keys["affine"].append([a, (position(pairs[0][0][0]) - a * position(pairs[0][1][0])) % 26])
    for method in methods:
        for key in keys.get(method, [None]):
            if all(decode(method, key or (), c) == p and (method != "pairs" or len(c) % 2 == 0) for c, p in pairs):
                return method, key
    return None


def validate(data: Data) -> Data:
    """A user's text, with the method and key found where they are not given."""
    cipher, text = _line(data.get("cipher"), "cipher"), _line(data.get("plain"), "plain")
    example, method = data.get("example"), data.get("method")
    if method is not None and method not in METHODS:
        raise ProblemError(f"unknown method {method!r:.60}: the methods are {', '.join(METHODS)}")
    lines = [(cipher, text)]
    if example is not None:
        if not isinstance(example, list | tuple) or len(example) != 2:
            raise ProblemError(f"example must be [cipher, plain] or null, not {example!r:.60}")
        example = [_line(example[0], "example[0]"), _line(example[1], "example[1]")]
        lines = [(example[0], example[1]), *lines]
    elif method not in (None, "caesar"):
        raise ProblemError(f"a {method} problem needs an example: only a Caesar cipher can be read without one")
    for c, p in lines:
        if len(c.split()) != len(p.split()):
            raise ProblemError(f"{c!r:.60} and {p!r:.60} differ in their number of words")
    words = [pair for c, p in lines for pair in zip(c.split(), p.split(), strict=True)]
    tried = (method,) if method else METHODS if example else METHODS[:1]
    found = _solve(words, tried)
    if found is None or data.get("key") not in (None, found[1]):
        raise ProblemError(f"no {' or '.join(tried)} cipher with that key turns {cipher!r:.60} into {text!r:.60}")
    checked = {"method": found[0], "key": found[1], "example": example, "cipher": cipher, "plain": text}
    if example and not _settled(checked, MAX_TEXT):
        raise ProblemError(f"the example {example[1]!r:.60} fits more than one cipher: give a longer one")
    return checked


CIPHER = Task(
    name="cipher",
    title="Decode a text, given one solved example or only that it is a Caesar cipher.",
    levels={
        1: "Caesar, one to three words",
        2: "Caesar, Atbash or reversed words",
        3: "or pairs of letters around the plain one; longer texts",
        4: "or affine; longer still",
    },
    draw=draw,
    canonical=canonical,
    phrasings=(_gym, _like_o1, _question, _short),
    answer=lambda data: data["plain"],
    grade=grade,
    check_blocks=check_blocks,
    demonstrate=demonstrate,
    validate=validate,
    gym="caesar_cipher",
)
