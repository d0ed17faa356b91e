"""Seeds by name: the same names give the same seed on every machine, and different names are unrelated."""

import hashlib
import random


def seed_for(*names: str | int) -> int:
    """A 63-bit seed for a list of names, such as ``seed_for("countdown", "test", 2, 17)``."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng_for(*names: str | int) -> random.Random:
    """A random generator seeded by a list of names."""
    return random.Random(seed_for(*names))
