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
)  # fmt: skip


def _word(rng: Random) -> str:
    word = rng.choice((common_word, common_word, pseudo_word))(rng)
    return word.capitalize() if rng.random() < 0.2 else word


def _sentence(rng: Random) -> str:
    length = rng.choice((rng.randint(2, 9), rng.randint(5, 45)))
    words = [str(rng.randint(1, 500)) if rng.random() < 0.08 else _word(rng) for _ in range(length)]
    return " ".join(words).capitalize()


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
    )
