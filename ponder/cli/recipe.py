"""Recipes: a training's settings from a YAML file and from options, checked, with errors that name the place."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ponder.errors import ConfigError

if TYPE_CHECKING:
    import pydantic

    Config = TypeVar("Config", bound=pydantic.BaseModel)


def read_recipe(path: Path | None) -> dict[str, Any]:
    """The settings of a YAML file."""
    if path is None:
        return {}
    import yaml

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
        first = err.errors()[0]
        name, where = ".".join(map(str, first["loc"])), f" in {recipe}" if recipe and first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(config.model_fields)
            raise ConfigError(f"unknown setting {name!r}{where}: the settings are {known}") from None
        if first["type"] == "missing":
            raise ConfigError(f"{name} is missing{where}: give --{name.replace('_', '-')}") from None
        raise ConfigError(f"{name}={first['input']!r}{where} does not fit: {first['msg']}") from None
