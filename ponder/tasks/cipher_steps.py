"""How a cipher thought is written: decoding letter by letter, testing a method on the example, searching a shift.

Each decoded letter is one look-up, written next to its cipher letter: ``WtKhHe`` is THE by shift 3, ``OYt`` is the
letter midway between two, ``WHl`` takes the shift off and then divides by the multiplier. A test ends at the first
letter that contradicts it. Without an example, a short word is shifted down until it reads as a word.
"""

from collections.abc import Iterator, Sequence
from random import Random
from string import ascii_uppercase as ALPHABET

from ponder.interfaces import Data
from ponder.types import Block

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


def position(letter: str) -> int:
    return ord(letter) - 65


def letter_at(position: int) -> str:
    return ALPHABET[position % 26]


def middle(a: str, b: str) -> str:
    return "?" if (position(a) + position(b)) % 2 else letter_at((position(a) + position(b)) // 2)


def shift_down(word: str, shift: int) -> str:
    return "".join(letter_at(position(c) - shift) for c in word)


def steps_of(method: str, key: Key, word: str) -> list[tuple[str, str]]:
    """The work of decoding one word, as (what is written before the letter, the letter)."""
    if method == "caesar":
        return [(c, letter_at(position(c) - key[0])) for c in word]
    if method == "atbash":
        return [(c, letter_at(25 - position(c))) for c in word]
    if method == "reversed":
        return [(c, c) for c in reversed(word)]
    if method == "pairs":
        return [(a + b, middle(a, b)) for a, b in zip(word[::2], word[1::2], strict=False)]
    inverse = pow(key[0], -1, 26)
    shifted = [letter_at(position(c) - key[1]) for c in word]
    return [(c + s, letter_at(position(s) * inverse)) for c, s in zip(word, shifted, strict=True)]


def written(method: str, steps: Sequence[tuple[str, str]]) -> str:
    """The thoughts of a decoding block; a reversed word needs only its letters."""
    return "".join(before if method == "reversed" else before + letter.lower() for before, letter in steps)


def decode(method: str, key: Key, word: str) -> str:
    """The plain word; an odd letter of a pair method is lost, and pairs without a middle letter give ``?``."""
    return "".join(letter for _, letter in steps_of(method, key, word))


def encode(method: str, key: Key, word: str, rng: Random) -> str:
    if method == "caesar":
        return shift_down(word, -key[0])
    if method == "atbash":
        return "".join(letter_at(25 - position(c)) for c in word)
    if method == "reversed":
        return word[::-1]
    if method == "affine":
        return "".join(letter_at(position(c) * key[0] + key[1]) for c in word)
    pairs = []
    for c in word:
        room = min(position(c), 25 - position(c), 9)
        gap = rng.randint(min(1, room), room) * rng.choice((1, -1))
        pairs.append(letter_at(position(c) + gap) + letter_at(position(c) - gap))
    return "".join(pairs)


def proof_of(method: str, key: Key, cipher: str, word: str) -> str:
    """One word encoded again, next to the cipher letters that it must give."""
    if method == "reversed":
        return word[::-1]
    if method == "pairs":
        return written(method, steps_of(method, key, cipher))
    again = [encode(method, key, c, Random(0)) for c in word]
    middle = [letter_at(position(c) * key[0]) for c in word] if method == "affine" else [""] * len(word)
    return "".join(c + m + a.lower() + d for c, m, a, d in zip(word, middle, again, cipher, strict=False))


def key_of(data: Data) -> Key:
    return data["key"] or ()


def name_of(method: str, key: Key) -> str:
    """How summaries call a method that has been found."""
    return f"shift {key[0]}" if method == "caesar" else " ".join([method, *map(str, key)])


# --- finding the method on the example ---------------------------------------------------------------------------


def _caesar_test(cipher: str, plain: str, letters: int) -> tuple[str, str]:
    """Gaps of the example's letter pairs until two differ: ``K-H=3 H-E=3 O-L=3`` or ``S-H=11 V-E=17 no``."""
    parts, first = [], (position(cipher[0]) - position(plain[0])) % 26
    for c, p in list(zip(cipher, plain, strict=False))[:letters]:
        gap = (position(c) - position(p)) % 26
        parts.append(f"{c}-{p}={gap}")
        if gap != first:
            return " ".join([*parts, "no"]), "not caesar"
    return " ".join(parts), f"shift {first}"


def _plain_test(method: str, cipher: Sequence[str], plain: str, letters: int) -> tuple[str, str]:
    """Decodes the example by a method without a key and compares with its plain text: ``ShH VeE`` or ``KpH no``."""
    parts, steps = [], [step for word in cipher for step in steps_of(method, (), word)]
    for (before, letter), p in list(zip(steps, plain, strict=False))[:letters]:
        parts.append((before if method == "reversed" else before + letter.lower()) + p)
        if letter != p:
            return " ".join([*parts, "no"]), f"not {method}"
    return " ".join(parts), method


def _affine_row(multiplier: int, cipher: str, plain: str) -> tuple[str, int | None]:
    """One multiplier tried: plain letter, multiplied, cipher letter, gap; stops at the first gap that differs."""
    parts, first = [str(multiplier)], None
    for c, p in list(zip(cipher, plain, strict=False))[:TESTED]:
        m = letter_at(position(p) * multiplier)
        gap = (position(c) - position(m)) % 26
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


def test_block(data: Data, method: str, letters: int, after: int = 0, rows: int = 2) -> Block:
    cipher, plain = data["example"]
    flat = plain.replace(" ", "")
    if method == "caesar":
        thoughts, summary = _caesar_test(cipher.replace(" ", ""), flat, letters)
    elif method == "affine":
        thoughts, summary = _affine_tests(cipher.replace(" ", ""), flat, after, rows)
    else:
        thoughts, summary = _plain_test(method, cipher.split(), flat, letters)
    return Block(f"test {method}", thoughts, summary)


def test_blocks(data: Data, method: str) -> Iterator[Block]:
    """The blocks that test one method; a wrong one is tested until the example contradicts it."""
    after, block = 0, None
    while block is None or (method == "affine" and block.summary.startswith("not") and after < MULTIPLIERS[-1]):
        block = test_block(data, method, TESTED if data["method"] == method else MAX_TEXT, after)
        after = int(block.summary.split()[-1]) if block.summary.startswith("not to") else MULTIPLIERS[-1]
        yield block


def methods_for(data: Data) -> tuple[str, ...]:
    return METHODS[:3] if data["method"] in METHODS[:3] else METHODS


# --- finding the shift without an example ------------------------------------------------------------------------


def pivot_of(words: Sequence[str]) -> str:
    """The first word of the first size that occurs."""
    for size in PIVOT_SIZES:
        for word in words:
            if len(word) == size:
                return word
    return words[0]


def listing(word: str, after: int, count: int, shift: int | None) -> Block:
    """Versions of a word shifted down by after+1, after+2, ...; the last one is taken if `shift` is given."""
    versions = [shift_down(word, after + i + 1) for i in range(count)]
    text = " ".join(versions)
    if shift is None:
        return Block(f"try {word}", text, f"not to {versions[-1]}")
    return Block(f"try {word}", f"{text} {word[0]}-{versions[-1][0]}={shift}", f"shift {shift}")


def search(word: str, shift: int, after: int = 0) -> Iterator[Block]:
    """Blocks that go down from `after` until `shift`."""
    size = max(2, LISTED // (len(word) + 1))
    while shift - after > size:
        yield listing(word, after, size, None)
        after += size
    yield listing(word, after, shift - after, shift)
