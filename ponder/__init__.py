"""Ponder trains a language model to think before it answers, in blocks that fold."""

__version__ = "0.1.0"
