"""docs/sandbox.md names everything that can be asked of the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.sandbox import DEFAULT_FLEET, Behaviour
from app.sandbox.api import CONTROL_ROUTES
from app.sandbox.settings import FAULT_NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")

ROWS = [*Behaviour, *FAULT_NAMES, *(f"{method} {path}" for method, path in CONTROL_ROUTES)]


@pytest.mark.parametrize("name", ROWS)
def test_the_page_has_a_row_for_it(name: str) -> None:
    assert f"\n| `{name}` |" in PAGE


def test_the_page_names_the_locks_that_are_not_called_after_a_behaviour() -> None:
    for spec in DEFAULT_FLEET:
        if spec.device_id != f"lock_{spec.behaviour}":
            assert f"`{spec.device_id}`" in PAGE
