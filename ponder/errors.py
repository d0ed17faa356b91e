"""Every error a user can cause, as one small tree.

PonderError
├── ConfigError      a setting, option or name that does not exist or does not fit (also a ValueError)
├── ProblemError     a problem file or a prompt that cannot be used (also a ValueError)
├── CheckpointError  a model directory that is missing, incomplete or damaged
├── StorageError     a file that cannot be written, as on a full disk
├── SamplerError     a sampler that could not extend a prefix
│   ├── ContextError     because the prompt is longer than the model reads
│   ├── UpstreamError    because the server that it asks could not be reached, or failed
│   └── RequestError     because what was asked for does not fit: n, a limit, a stop text (also a ConfigError)
├── TrainingError    a training that cannot go on: what it would learn is not what was asked for
│   └── DivergedError    because numbers in it are no longer finite
└── AnswerUnreadable an answer text that no reader understands (a grader turns it into a Grade)

The command line prints the sentence and exits with 2. Broken invariants of our own are asserts instead.
"""

from collections.abc import Collection
from difflib import get_close_matches


def meant(name: str, known: Collection[str]) -> str:
    """What to say after an unknown name: the nearest known one, if any is near, as `, did you mean …?`"""
    near = get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


class PonderError(Exception):
    """Base of all errors that a user can cause; its text names the value and the remedy."""


class ConfigError(PonderError, ValueError):
    """A setting or a name is unknown or does not fit."""


class ProblemError(PonderError, ValueError):
    """A problem, a prompt or a problem file cannot be used."""


class CheckpointError(PonderError):
    """A model directory is missing, incomplete or damaged."""


class StorageError(PonderError):
    """A file cannot be written; what it would have replaced is intact."""


class SamplerError(PonderError):
    """A sampler could not extend a prefix."""


class ContextError(SamplerError):
    """A prompt is longer than the model reads."""


class UpstreamError(SamplerError):
    """A server that samples for this one could not be reached, or failed, or sent what cannot be used."""


class RequestError(SamplerError, ConfigError):
    """A sampler is asked for what no sampler can do."""


class TrainingError(PonderError):
    """A training cannot go on; what it had saved is intact."""


class DivergedError(TrainingError):
    """A loss, a gradient or a weight is not a finite number."""


class AnswerUnreadable(PonderError, ValueError):
    """An answer text could not be read as what the task asks for."""
