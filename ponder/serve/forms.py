"""Answers in JSON, where a request asks for it.

A model answers in its own words, thinking or not; then the answer, and nothing else, is put into the form: as it is
where it is JSON that fits, else as the value of the schema's only property, if it reads as a value of that type. What
does not fit is refused in a sentence: an answer of a wrong type is never told.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ponder.serve.refusal import invalid
from ponder.serve.schema import Schema, Unreadable
from ponder.serve.wire import Format

WORD = "answer"
"""The name of the answer where a request asks for any object."""


class Unfit(Exception):
    """An answer that does not fit, in a sentence for its reader."""


@dataclass(frozen=True)
class Form:
    """A form of answers."""

    schema: Schema | None
    """None for any object."""
    told: Mapping[str, Any]
    """As responses repeat it."""

    def shaped(self, answer: str) -> str:
        """The answer as JSON; raises Unfit."""
        value = _read(answer)
        if self.schema is None:
            return answer.strip() if isinstance(value, dict) else json.dumps({WORD: answer}, ensure_ascii=False)
        if value is not Ellipsis and self.schema.fits(value):
            return answer.strip()
        name = self._only()
        for one in (value, answer):
            if one is not Ellipsis and self.schema.fits({name: one}):
                return json.dumps({name: one}, ensure_ascii=False)
        raise Unfit(f"The answer is not what the schema's '{name}' asks for, so it is not given.")

    def _only(self) -> str:
        """The name of the one property that an answer can be the value of."""
        assert self.schema
        root = self.schema.resolved(self.schema.root)
        own, required = list(root.get("properties", {})), list(root.get("required", ()))
        names = required if len(required) == 1 or len(own) != 1 else own
        if len(names) != 1:
            raise Unfit(
                f"The answer is plain text, and the schema asks for {len(required)} properties: this model can fill "
                "one. Ask for a schema with a single property."
            )
        return str(names[0])


def form_of(asked: Format | None, name: str) -> Form | None:
    """The form that a request asks for, None for plain text; raises Refusal where there is none such.

    `name` is the parameter's.
    """
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return Form(None, {"type": "json_object"})
    if asked.type != "json_schema":
        raise invalid(f"Invalid value for '{name}.type': use text, json_object or json_schema.", f"{name}.type")
    about = asked.json_schema or asked
    where = f"{name}.json_schema" if asked.json_schema else name
    if about.schema_ is None:
        raise invalid(f"Missing required parameter: '{where}.schema'.", f"{where}.schema", "missing_required_parameter")
    try:
        schema = Schema(about.schema_)
        if schema.resolved(schema.root).get("type") != "object":
            raise Unreadable("its root must be of type 'object'")
    except Unreadable as err:
        said = f"Invalid schema for '{name}': {err}."
        raise invalid(said, f"{where}.schema", "invalid_json_schema") from None
    told = {"type": "json_schema", "name": about.name or "answer", "description": about.description}
    return Form(schema, told | {"schema": about.schema_, "strict": bool(about.strict)})


def _read(answer: str) -> Any:
    """The JSON value that a text is, or Ellipsis where it is none."""
    try:
        return json.loads(answer, parse_constant=_constant)
    except (ValueError, RecursionError):
        return Ellipsis


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
