"""Recipes: a training's settings from a YAML file and from options, checked, with errors that name the place."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import ponder
from ponder.errors import ConfigError

if TYPE_CHECKING:
    import pydantic

    Config = TypeVar("Config", bound=pydantic.BaseModel)


RECIPES = Path(ponder.__file__).resolve().parents[1] / "recipes"
"""Where the recipes that come with a checkout lie."""


def found(given: Path) -> Path:
    """A recipe's file: the one that was named, or the one of that bare name among those that come with Ponder."""
    bare = given.name == str(given) and not given.suffix
    if given.exists() or not bare:
        return given
    known = [path.stem for path in sorted(RECIPES.glob("*.yaml"))]
    if given.name in known:
        return RECIPES / f"{given.name}.yaml"
    raise ConfigError(
        f"there is no recipe {given.name!r}{nearest(given.name, known)}: give a file, or one of {', '.join(known)}"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A question whether the known name that is most like it was meant; nothing where none is."""
    like = get_close_matches(name, list(known), 1)
    return f", did you mean {like[0]!r}?" if like else ""


def read_recipe(path: Path | None) -> dict[str, Any]:
    """The settings of a YAML file."""
    if path is None:
        return {}
    import yaml

    path = found(path)

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"recipe {path} cannot be read: {err.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"recipe {path} is not YAML: {err}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"recipe {path} does not hold settings: write lines such as `steps: 3000`")
    return value


def checked(config: "type[Config]", settings: dict[str, Any], recipe: Path | None) -> "Config":
    """The settings as a configuration; raises ConfigError for one that is unknown, missing or does not fit."""
    import pydantic

    try:
        return config.model_validate(settings)
    except pydantic.ValidationError as err:
        errors = err.errors()  # a name that is spelled wrongly is also one that is missing
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
        name, where = ".".join(map(str, first["loc"])), f" in {recipe}" if recipe and first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = list(_part(config, first["loc"][:-1]).model_fields)
            like = nearest(str(first["loc"][-1]), known)
            raise ConfigError(f"unknown setting {name!r}{where}{like}: the settings are {', '.join(known)}") from None
        if first["type"] == "missing":
            remedy = f"give --{name.replace('_', '-')}" if len(first["loc"]) == 1 else "write it there"
            raise ConfigError(f"{name} is missing{where}: {remedy}") from None
        if not first["loc"]:
            raise ConfigError(first["msg"].removeprefix("Value error, ")) from None
        raise ConfigError(f"{name}={first['input']!r}{where} does not fit: {first['msg']}") from None


def _part(config: "type[pydantic.BaseModel]", path: Sequence[str | int]) -> "type[pydantic.BaseModel]":
    """The settings within settings that a place in a recipe is about."""
    import pydantic

    for name in path:
        if isinstance(name, str) and name in config.model_fields:
            wanted = config.model_fields[name].annotation
            inner = (one for one in (wanted, *get_args(wanted)) if isinstance(one, type))
            config = next((one for one in inner if issubclass(one, pydantic.BaseModel)), config)
    return config
