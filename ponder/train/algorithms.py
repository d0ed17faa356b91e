"""Ways to learn from rollouts, by name. A new one is a file and a line here."""

from collections.abc import Mapping
from typing import Any

import pydantic

from ponder.errors import ConfigError, meant
from ponder.train.advantages import Algorithm
from ponder.train.branch import Branch
from ponder.train.grpo import Grpo
from ponder.train.ppo import Ppo
from ponder.train.star import Star

ALGORITHMS: Mapping[str, type[Grpo] | type[Branch] | type[Ppo] | type[Star]] = {
    "grpo": Grpo,
    "branch": Branch,
    "ppo": Ppo,
    "star": Star,
}


def algorithm_named(name: str, options: Mapping[str, Any]) -> Algorithm:
    """The algorithm of that name with these settings; what is unknown or does not fit is refused."""
    if name not in ALGORITHMS:
        near = meant(name, ALGORITHMS)
        raise ConfigError(f"unknown algorithm {name!r}{near or ':'} the algorithms are {', '.join(ALGORITHMS)}")
    kind = ALGORITHMS[name]
    try:
        return kind.model_validate(dict(options))
    except pydantic.ValidationError as err:
        first = err.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            near = meant(key, kind.model_fields)
            raise ConfigError(f"unknown option {key!r} of {name}{near or ':'} its options are {known}") from None
        raise ConfigError(f"{name}'s {key}={first['input']!r} does not fit: {first['msg']}") from None
