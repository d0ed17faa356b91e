"""The part of JSON Schema that answers can be held against; a keyword beyond it is refused, never passed over."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

Json = Mapping[str, Any]
_ABOUT = ("$schema", "$id", "$comment")
NOTES = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format", *_ABOUT)
"""Say nothing of which values fit."""
_SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", *_SIZES)
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
DEEPEST, MOST_NODES = 32, 2000


class Unreadable(ValueError):
    """A schema that answers cannot be held against, with the reason."""


@dataclass(frozen=True)
class Schema:
    """A schema that has been checked."""

    root: Json

    def __post_init__(self) -> None:
        left = [MOST_NODES]
        self._check(self.root, 0, left)

    def fits(self, value: Any) -> bool:
        """Whether a JSON value is one that the schema describes."""
        return self._fits(value, self.root, 0)

    def resolved(self, node: Json) -> Json:
        """A node, or what it refers to."""
        for _ in range(DEEPEST):
            if "$ref" not in node:
                return node
            node = self._target(node["$ref"])
        raise Unreadable(f"'$ref' {node['$ref']!r} leads to itself")

    def _target(self, ref: object) -> Json:
        found: Any = self.root
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise Unreadable(f"'$ref' {str(ref)[:60]!r} does not begin with '#/'")
        for step in ref.split("/")[1:]:
            found = cast(Json, found).get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise Unreadable(f"'$ref' {ref[:60]!r} leads nowhere")
        return cast(Json, found)

    def _check(self, node: Any, depth: int, left: list[int]) -> None:
        left[0] -= 1
        if depth > DEEPEST or left[0] < 0:
            raise Unreadable(f"it is nested deeper than {DEEPEST}, or has more than {MOST_NODES} parts")
        if isinstance(node, bool):
            return
        if not isinstance(node, Mapping):
            raise Unreadable(f"{str(cast(object, node))[:40]!r} is no schema")
        told = cast(Json, node)
        for name, value in told.items():
            if name == "$ref":
                self.resolved(told)
            elif name in ("properties", "$defs", "definitions"):
                if not isinstance(value, Mapping):
                    raise Unreadable(f"'{name}' must be an object")
                for one in cast(Json, value).values():
                    self._check(one, depth + 1, left)
            elif name in ("items", "additionalProperties"):
                self._check(value, depth + 1, left)
            elif name in ("anyOf", "oneOf", "allOf"):
                if not (isinstance(value, list) and value):
                    raise Unreadable(f"'{name}' must be a list of schemas")
                for one in cast(list[Any], value):
                    self._check(one, depth + 1, left)
            elif name == "type":
                if not all(one in TYPES for one in _list(value)) or not _list(value):
                    raise Unreadable(f"'type' {str(value)[:40]!r} is none of {', '.join(TYPES)}")
            elif name in ("enum", "required"):
                if not isinstance(value, list) or (name == "required" and not _names(value)):
                    raise Unreadable(f"'{name}' must be a list" + " of names" * (name == "required"))
            elif name in BOUNDS:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise Unreadable(f"'{name}' must be a number")
            elif name != "const" and name not in NOTES:
                raise Unreadable(f"the keyword '{name[:40]}' is not supported")

    def _fits(self, value: Any, node: Any, depth: int) -> bool:
        if isinstance(node, bool):
            return node
        if depth > 2 * DEEPEST:
            return False
        told = self.resolved(cast(Json, node))
        down = depth + 1
        return (
            ("type" not in told or any(_is(value, kind) for kind in _list(told["type"])))
            and ("enum" not in told or any(_same(value, one) for one in told["enum"]))
            and ("const" not in told or _same(value, told["const"]))
            and all(self._fits(value, one, down) for one in told.get("allOf", ()))
            and ("anyOf" not in told or any(self._fits(value, one, down) for one in told["anyOf"]))
            and ("oneOf" not in told or sum(self._fits(value, one, down) for one in told["oneOf"]) == 1)
            and _bounded(value, told)
            and self._inside(value, told, down)
        )

    def _inside(self, value: Any, told: Json, depth: int) -> bool:
        if isinstance(value, list):
            return all(self._fits(one, told.get("items", True), depth) for one in cast(list[Any], value))
        if not isinstance(value, Mapping):
            return True
        own, more = told.get("properties", {}), told.get("additionalProperties", True)
        object_ = cast(Json, value)
        return all(name in object_ for name in told.get("required", ())) and all(
            self._fits(one, own.get(name, more), depth) for name, one in object_.items()
        )


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]


def _names(value: Any) -> bool:
    return all(isinstance(one, str) for one in _list(value))


def _is(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    match kind:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "number":
            return number
        case "integer":
            return number and value == int(value)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return value is None


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _bounded(value: Any, told: Json) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int | float):
        return (
            value >= told.get("minimum", value)
            and value <= told.get("maximum", value)
            and ("exclusiveMinimum" not in told or value > told["exclusiveMinimum"])
            and ("exclusiveMaximum" not in told or value < told["exclusiveMaximum"])
        )
    name = {str: "Length", list: "Items"}.get(type(value), "Properties")
    size = len(value)
    return told.get(f"min{name}", size) <= size <= told.get(f"max{name}", size)
