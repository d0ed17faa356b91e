"""Words: plain, distinct, and drawn within their limits."""

from random import Random

from ponder.tasks.words import CONTENT_WORDS, FUNCTION_WORDS, NAMES, WORD_SET, common_word, pseudo_word


def test_words_are_plain_and_distinct():
    words = FUNCTION_WORDS + CONTENT_WORDS
    assert 600 <= len(words) == len(WORD_SET) <= 1000
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
    assert {"the", "of", "and", "to", "in", "is", "it", "a", "i"} <= set(FUNCTION_WORDS)
    assert all(name.isascii() and name.isalpha() and name[0].isupper() for name in NAMES)


def test_drawn_words_keep_to_their_limits():
    rng = Random(0)
    common = [common_word(rng, 2, 6) for _ in range(500)]
    assert set(common) <= WORD_SET and {len(word) for word in common} == {2, 3, 4, 5, 6}
    made = [pseudo_word(rng, 3, 7) for _ in range(500)]
    assert not set(made) & WORD_SET and {len(word) for word in made} == {3, 4, 5, 6, 7}
    assert set("".join(made)) == set("abcdefghijklmnopqrstuvwxyz")
    assert pseudo_word(Random(3)) == pseudo_word(Random(3))
