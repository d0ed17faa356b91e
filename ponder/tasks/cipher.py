"""Cipher: one solved example (or only the word "Caesar"), then a text to decode; all in capitals.

A thought finds the method on the example, letter by letter, and then decodes one word a block. Each decoded letter is
one look-up, written next to its cipher letter: ``WtKhHe`` is THE by shift 3, ``OYt`` is the letter midway between two,
``WHl`` takes off the shift and then divides. Without an example, a short word is shifted down until it reads as one.
"""

from collections.abc import Iterator, Sequence
from random import Random
from string import ascii_uppercase as ALPHABET

from ponder.errors import AnswerUnreadable, ProblemError
from ponder.interfaces import Data, Task
from ponder.tasks.answers import plain as bare
from ponder.tasks.words import WORD_SET, common_word, pseudo_word
from ponder.types import Block, BlockCheck, Demonstration, Grade, Problem, Style

METHODS = ("caesar", "atbash", "reversed", "pairs", "affine")
"""In the order in which a thought tries them."""
MULTIPLIERS = (3, 5, 7, 9, 11, 15, 17, 19, 21, 23)
"""Those of affine ciphers that have an inverse; 1 would be Caesar, 25 a shifted Atbash."""
PIVOT_SIZES = (3, 4, 5, 2, 6, 7, 8)
"""Which words tell most about an unknown shift: three letters are short and rarely read as a word by accident."""
TESTED = 3
"""How many letters of the example a test looks at before it believes a method."""
LISTED = 24
"""Tokens that one block spends on shifted versions of a word."""
MAX_TEXT = 400

Key = Sequence[int]


def _at(letter: str) -> int:
    return ord(letter) - 65


def _letter(position: int) -> str:
    return ALPHABET[position % 26]


def _middle(a: str, b: str) -> str:
    return "?" if (_at(a) + _at(b)) % 2 else _letter((_at(a) + _at(b)) // 2)


def _down(word: str, shift: int) -> str:
    return "".join(_letter(_at(c) - shift) for c in word)


def _steps(method: str, key: Key, word: str) -> list[tuple[str, str]]:
    """The work of decoding one word, as (what is written before the letter, the letter)."""
    if method == "caesar":
        return [(c, _letter(_at(c) - key[0])) for c in word]
    if method == "atbash":
        return [(c, _letter(25 - _at(c))) for c in word]
    if method == "reversed":
        return [(c, c) for c in reversed(word)]
    if method == "pairs":
        return [(a + b, _middle(a, b)) for a, b in zip(word[::2], word[1::2], strict=False)]
    inverse = pow(key[0], -1, 26)
    shifted = [_letter(_at(c) - key[1]) for c in word]
    return [(c + s, _letter(_at(s) * inverse)) for c, s in zip(word, shifted, strict=True)]


def _work(steps: Sequence[tuple[str, str]]) -> str:
    return "".join(before if before == letter else before + letter.lower() for before, letter in steps)


def _decode(method: str, key: Key, word: str) -> str:
    """The plain word; an odd letter of a pair method is lost, and pairs without a middle letter give ``?``."""
    return "".join(letter for _, letter in _steps(method, key, word))


def _encode(method: str, key: Key, word: str, rng: Random) -> str:
    if method == "caesar":
        return _down(word, -key[0])
    if method == "atbash":
        return "".join(_letter(25 - _at(c)) for c in word)
    if method == "reversed":
        return word[::-1]
    if method == "affine":
        return "".join(_letter(_at(c) * key[0] + key[1]) for c in word)
    pairs = []
    for c in word:
        room = min(_at(c), 25 - _at(c), 9)
        gap = rng.randint(min(1, room), room) * rng.choice((1, -1))
        pairs.append(_letter(_at(c) + gap) + _letter(_at(c) - gap))
    return "".join(pairs)


def _proof(method: str, key: Key, cipher: str, word: str) -> str:
    """One word encoded again, next to the cipher letters that it must give."""
    if method == "reversed":
        return word[::-1]
    if method == "pairs":
        return _work(_steps(method, key, cipher))
    again = [_encode(method, key, c, Random(0)) for c in word]
    middle = [_letter(_at(c) * key[0]) for c in word] if method == "affine" else [""] * len(word)
    return "".join(c + m + a.lower() + d for c, m, a, d in zip(word, middle, again, cipher, strict=False))


def _name(method: str, key: Key) -> str:
    """How summaries call a method that has been found."""
    return f"shift {key[0]}" if method == "caesar" else " ".join([method, *map(str, key)])


# --- finding the method on the example ---------------------------------------------------------------------------


def _caesar_test(cipher: str, plain: str, letters: int) -> tuple[str, str]:
    gaps = [(_at(c) - _at(p)) % 26 for c, p in zip(cipher[:letters], plain, strict=False)]
    text = " ".join(f"{c}-{p}={gap}" for c, p, gap in zip(cipher, plain, gaps, strict=False))
    return (text, f"shift {gaps[0]}") if len(set(gaps)) == 1 else (f"{text} no", "not caesar")


def _plain_test(method: str, cipher: Sequence[str], plain: str, letters: int) -> tuple[str, str]:
    """Decodes the example's first letters by a method without a key and compares: ``ShH VeE`` or ``KpH no``."""
    steps = [step for word in cipher for step in _steps(method, (), word)]
    seen = [(b, d, p) for (b, d), p in zip(steps, plain, strict=False)][:letters]
    text = " ".join((b if method == "reversed" else b + d.lower()) + p for b, d, p in seen)
    return (text, method) if all(d == p for _, d, p in seen) else (f"{text} no", f"not {method}")


def _affine_row(multiplier: int, cipher: str, plain: str) -> tuple[str, int | None]:
    """One multiplier tried: plain letter, multiplied, cipher letter, gap; stops at the first gap that differs."""
    parts, first = [str(multiplier)], None
    for c, p in list(zip(cipher, plain, strict=False))[:TESTED]:
        m = _letter(_at(p) * multiplier)
        gap = (_at(c) - _at(m)) % 26
        parts.append(f"{p}{m.lower()}{c}{gap}")
        if first is not None and gap != first:
            return " ".join([*parts, "no"]), None
        first = gap
    return " ".join(parts), first


def _affine_tests(cipher: str, plain: str, after: int, rows: int) -> tuple[str, str]:
    """Up to `rows` multipliers after `after`, until one fits."""
    texts, last = [], after
    for multiplier in [m for m in MULTIPLIERS if m > after][:rows]:
        text, shift = _affine_row(multiplier, cipher, plain)
        texts.append(text)
        last = multiplier
        if shift is not None:
            return " ".join(texts), f"affine {multiplier} {shift}"
    return " ".join(texts), f"not to {last}"


def _test(data: Data, method: str, letters: int, after: int = 0, rows: int = 2) -> Block:
    cipher, plain = data["example"]
    flat = plain.replace(" ", "")
    if method == "caesar":
        thoughts, summary = _caesar_test(cipher.replace(" ", ""), flat, letters)
    elif method == "affine":
        thoughts, summary = _affine_tests(cipher.replace(" ", ""), flat, after, rows)
    else:
        thoughts, summary = _plain_test(method, cipher.split(), flat, letters)
    return Block(f"test {method}", thoughts, summary)


def _tests(data: Data, method: str) -> Iterator[Block]:
    """The blocks that test one method: a wrong one ends at its first contradiction, the right one after `TESTED`."""
    if method == "affine":
        after = 0
        while after < MULTIPLIERS[-1]:
            block = _test(data, method, TESTED, after)
            yield block
            if not block.summary.startswith("not"):
                return
            after = int(block.summary.split()[-1])
        return
    right = data["method"] == method
    block = _test(data, method, TESTED)
    for letters in range(1, len(data["example"][1])):
        if right or block.summary.startswith("not") and _test(data, method, letters) == block:
            break
        if (shorter := _test(data, method, letters)).summary.startswith("not"):
            block = shorter
            break
    yield block


def _order(data: Data) -> tuple[str, ...]:
    return METHODS[:3] if data["method"] in METHODS[:3] else METHODS


# --- finding the shift without an example ------------------------------------------------------------------------


def _pivot(words: Sequence[str]) -> str:
    """The first word of the first size that occurs."""
    for size in PIVOT_SIZES:
        for word in words:
            if len(word) == size:
                return word
    return words[0]


def _listing(word: str, after: int, count: int, shift: int | None) -> Block:
    """Versions of a word shifted down by after+1, after+2, ...; the last one is taken if `shift` is given."""
    versions = [_down(word, after + i + 1) for i in range(count)]
    text = " ".join(versions)
    if shift is None:
        return Block(f"try {word}", text, f"not to {versions[-1]}")
    return Block(f"try {word}", f"{text} {word[0]}-{versions[-1][0]}={shift}", f"shift {shift}")


def _search(word: str, shift: int, after: int = 0) -> Iterator[Block]:
    """Blocks that go down from `after` until `shift`."""
    size = max(2, LISTED // (len(word) + 1))
    while shift - after > size:
        yield _listing(word, after, size, None)
        after += size
    yield _listing(word, after, shift - after, shift)


# --- whole thoughts ----------------------------------------------------------------------------------------------


def _word_block(data: Data, index: int, lead: str = "") -> Block:
    """Decodes word number `index`; the summary gives all words so far."""
    word, method, key = data["cipher"].split()[index], data["method"], data["key"] or ()
    done = " ".join(data["plain"].split()[: index + 1])
    return Block(f"{lead}{word}", _work(_steps(method, key, word)), f"{_name(method, key)} {done}")


def _check_block(data: Data, plain: str) -> Block:
    """Encodes the last word again and compares it with the cipher text."""
    method, key = data["method"], data["key"] or ()
    proof = _proof(method, key, data["cipher"].split()[-1], plain.split()[-1])
    if plain == data["plain"]:
        return Block("check", proof, f"{plain} ok")
    return Block("check", f"{proof} no", f"{_name(method, key)} {plain} wrong")


def _find(data: Data, rng: Random, wander: bool) -> list[Block]:
    """The blocks from the prompt to the method and its key."""
    if data["example"] is None:
        words = data["cipher"].split()
        pivot = _pivot(words)
        blocks = list(_search(pivot, data["key"][0]))
        others = [word for word in words if len(word) == len(pivot) and word != pivot]
        if wander and others:  # starts on another word, gives it up after one block
            blocks = [*list(_search(rng.choice(others), 26))[:1], *blocks]
        return blocks
    order = _order(data)
    start = rng.randrange(1, len(order)) if wander else 0
    blocks = []
    for method in [*order[start:], *order[:start]]:
        blocks += _tests(data, method)
        if method == data["method"]:
            break
    return blocks


def _slip_letter(data: Data, index: int, rng: Random) -> Block:
    """The word block with one wrong letter, one beside the right one as a miscounted shift gives."""
    block, words = _word_block(data, index), data["plain"].split()
    at = rng.randrange(len(words[index]))
    wrong = _letter(_at(words[index][at]) + rng.choice((-1, 1)))
    steps = _steps(data["method"], data["key"] or (), data["cipher"].split()[index])
    steps[at] = (steps[at][0], wrong)
    word = "".join(letter for _, letter in steps)
    so_far = " ".join([*words[:index], word])
    return Block(block.headline, _work(steps), f"{_name(data['method'], data['key'] or ())} {so_far}")


def _slip_shift(data: Data, found: Sequence[Block], rng: Random) -> list[Block]:
    """A wrong shift, the unreadable first word that it gives, and the search again."""
    first, shift = data["cipher"].split()[0], data["key"][0]
    if data["example"] is None:
        wrong = rng.randint(max(1, shift - 4), shift)
        if wrong == shift:
            return []
        pivot = _pivot(data["cipher"].split())
        start, redo = list(_search(pivot, wrong)), list(_search(pivot, shift, wrong - 1))
    else:
        wrong = shift % 25 + 1
        start = [Block(found[0].headline, found[0].thoughts, f"shift {wrong}")]
        redo = list(found)
    bad = Block(first, _work(_steps("caesar", [wrong], first)), f"shift {wrong} {_down(first, wrong)}")
    return [*start, bad, *redo]


def demonstrate(problem: Problem, rng: Random, style: Style) -> Demonstration:
    """A thought of the given style that ends in the plain text."""
    data = problem.data
    if style is Style.DIRECT:
        return Demonstration((), data["plain"])
    wander = style is Style.WANDERING
    blocks = _find(data, rng, wander)
    words = data["plain"].split()
    slip = -1
    if style is Style.CORRECTED:
        again = _slip_shift(data, blocks, rng) if data["method"] == "caesar" and rng.random() < 0.5 else []
        blocks = again or blocks
        slip = -1 if again else rng.randrange(len(words))
    for index in range(len(words)):
        if index != slip:
            blocks.append(_word_block(data, index))
            if wander and rng.random() < 1 / len(words):  # reads it once more, though nothing is wrong
                blocks.append(_word_block(data, index, "again "))
            continue
        blocks.append(_slip_letter(data, index, rng))
        if index == len(words) - 1:
            blocks.append(_check_block(data, blocks[-1].summary.removeprefix(_name(data["method"], data["key"] or ()) + " ")))
        blocks.append(_word_block(data, index, "again "))
    return Demonstration((*blocks, _check_block(data, data["plain"])), data["plain"])
