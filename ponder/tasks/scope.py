"""What lies outside the tasks: prompts that a small model must not bluff at, and what it says instead.

A model trained on these tasks alone would answer any question with something. A small share of its training are
questions of every other kind, all answered by the same plain sentence.
"""

from random import Random

from ponder.tasks.words import common_word, pseudo_word

SENTENCE = (
    "I only know these kinds of problem: countdown, multiplication, arithmetic, small programs, sudoku, equations, "
    "knights and knaves, ciphers, counting letters. For anything else choose another model with --model."
)

_TOPICS = [
    "Japan",
    "Italy",
    "Spain",
    "Peru",
    "the moon",
    "Shakespeare",
    "gravity",
    "photosynthesis",
    "the Roman Empire",
    "jazz",
    "my cat",
    "chess",
    "climate change",
    "Python",
    "Einstein",
    "the Pacific Ocean",
    "love",
    "democracy",
    "a black hole",
    "bread",
    "the stock market",
    "Mars",
    "Napoleon",
    "football",
    "tea",
    "Berlin",
]
_OPENINGS = (
    "What is the capital of {w}?", "Who was {w}?", "Who is the president of {w}?", "When did {w} begin?",
    "Why is {w} so {v}?", "Tell me about {w}.", "Write a poem about {w}.", "Write a story about a {v} and {n} {w}.",
    "How do I {v} a {w}?", "What is the meaning of {w}?", "Translate '{w} {v}' to French.", "hello", "Hi, how are you?",
    "Explain {w} to me like I am {n}.", "What is {w}?", "Where is {w}?", "Give me a recipe for {v} {w}.", "Thanks!",
    "What is the best {w} for {v}?", "Summarize this: {s}", "{s}", "{s}?", "Is {w} a {v}?", "Who wrote {w}?",
    "How many people live in {w}?", "How far is {w} from {v}?", "What year was {w} born?", "Can you {v} {w}?",
    "Write a function that {v}s {w}.", "Fix this code: {w}({v})", "What do you think of {w}?",
    "Which is larger, {w} or {v}?",
    "{S} has {n} {w}s and buys {m} more. {S2}. How many {w}s does {S} have now?", "{s}. {s2}. How many {w}s are left?",
    "If a train travels {n} miles in {m} hours, how fast is it? {s}.", "Find the area of a {w} with side {n}.",
    "Let ABC be a {w} with {v} {n}. {s}. Find {m}.", "How many {w}s are there such that {s} {n}?", "Prove that {s}.",
    "What is the {v} of {n} and {m} {w}s?", "Convert {n} {w} to {v}.", "def {w}({v}): {s}", "Name {n} kinds of {w}.",
    "Compute the sum of all {w} {v} less than {n}.", "What is the weather in {w}?", "Who won the {v} {n} {w}?",
    "What can you do?", "Who are you?", "What is your name?", "help", "{w}", "{n}", "{w} {v} {n}", "What day is it?",
    "Each {w} costs ${n} and {s}. What is the total?", "In {w}, {s} {n}% of {v}. {s2} {m}?", "Sing a song.", "test",
    "{code}", "{code}", "{code}", "Complete this function:\n{code}", "What is wrong here?\n{code}", "{code}\n\n{s}",
)  # fmt: skip


def _word(rng: Random) -> str:
    word = rng.choice((common_word, common_word, pseudo_word))(rng)
    return word.capitalize() if rng.random() < 0.2 else word


def _sentence(rng: Random) -> str:
    length = rng.choice((rng.randint(2, 9), rng.randint(5, 45)))
    words = [str(rng.randint(1, 500)) if rng.random() < 0.08 else _word(rng) for _ in range(length)]
    return " ".join(words).capitalize()


_TYPES = ("int", "str", "float", "bool", "List[int]", "List[str]", "List[float]", "Tuple[int, int]", "dict", "Any")
_CALLS = (
    "{f}({a}, {b})", "{f}({n}, {m})", "{f}([{n}, {m}, {n}])", "{f}('{a}')", "{f}([{n}.{m}, {m}.0], 0.5)",
    "{f}(['{a}', '{b}'], '{c}')", "{f}([])",
)  # fmt: skip
_CODE_LINES = (
    "return {a}", "return {a} + {b}", "for {a} in {b}:", "if not {a}:", "{a} = []", "{a} = {b}.split('{c}')",
    "while {a} and {b}:", "print('{a} {b}')", "{a}.append({b})", "return sorted({a}, key=lambda {b}: {b})",
    "{a} = len({b})", "raise ValueError('{a} {b}')", "assert {a} == {b}", "{a} = [{b} for {b} in {c}]",
)  # fmt: skip


def _code(rng: Random) -> str:
    """A Python function as those to complete or to mend look: signature, docstring with examples, some lines."""

    def fill(text: str) -> str:
        a, b, c = (common_word(rng).lower() for _ in range(3))
        return text.format(f=name, a=a, b=b, c=c, n=rng.randint(0, 99), m=rng.randint(0, 999))

    name = "_".join(common_word(rng).lower() for _ in range(rng.randint(1, 3)))
    kinds = rng.random() < 0.7
    given = [fill("{a}") + (f": {rng.choice(_TYPES)}" if kinds else "") for _ in range(rng.randint(1, 3))]
    lines = [rng.choice(("from typing import List", "import math", "from typing import List, Tuple"))] * (
        rng.random() < 0.4
    )
    lines += ["", ""] * bool(lines)
    lines.append(f"def {name}({', '.join(given)}){f' -> {rng.choice(_TYPES)}' if kinds else ''}:")
    if rng.random() < 0.8:
        lines.append(f'    """{_sentence(rng)}.')
        for _ in range(rng.randint(0, 3)):
            lines += [f"    >>> {fill(rng.choice(_CALLS))}", f"    {fill(rng.choice(('{n}', 'True', '[{n}, {m}]')))}"]
        lines.append('    """')
    lines += [f"    {fill(rng.choice(_CODE_LINES))}" for _ in range(rng.choice((0, 0, 1, 3)))]
    return "\n".join(lines)


def outside(rng: Random) -> str:
    """A prompt that belongs to none of the tasks."""
    topic = rng.choice(_TOPICS) if rng.random() < 0.3 else _word(rng)
    return rng.choice(_OPENINGS).format(
        w=topic,
        v=_word(rng),
        n=rng.randint(1, 300),
        m=rng.randint(1, 3000),
        s=_sentence(rng),
        s2=_sentence(rng),
        S=_word(rng).capitalize(),
        S2=_sentence(rng),
        code=_code(rng),
    )
