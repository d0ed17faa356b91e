"""The description is true: whatever is sent is answered as it says, and never by a failure of the server."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def drawn(app: Any, cases: int) -> int:
    """Send so many cases, right and wrong ones, of each operation that is described; returns how many there were."""
    count = 0
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()
        wrong = [GenerationMode.NEGATIVE] if operation.body or operation.query else []  # else nothing can be wrong
        for mode in (GenerationMode.POSITIVE, *wrong):

            @settings(max_examples=cases, suppress_health_check=list(HealthCheck), deadline=None, database=None)
            @given(operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(checks=CHECKS)

            check()
    return count


def test_what_is_described_is_what_happens(serve: Any) -> None:
    """Half a minute."""
    assert drawn(serve().app, 220) >= 2000
