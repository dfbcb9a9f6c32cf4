"""The API's description is complete, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from app.api import bodies, problems, schemas
from app.api.app import create_api
from app.api.problems import TYPE_PREFIX, ApiError
from app.domain.errors import LatchwatchError
from app.seam.errors import SeamError
from app.storage.engine import open_database
from app.storage.errors import StorageConflict, StorageUnavailable
from tests.api.worlds import Clock, make_services

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def api() -> FastAPI:
    return create_api(make_services(open_database("sqlite:///unused.db"), Clock(), None))


@pytest.fixture(scope="module")
def description(api: FastAPI) -> dict[str, Any]:
    return api.openapi()


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_has_a_tag_that_is_described_and_a_summary(description: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in description["tags"]}
    for method, path, operation in operations(description):
        assert operation["tags"], (method, path)
        assert set(operation["tags"]) <= tags, (method, path)
        assert operation["summary"], (method, path)


def test_every_operation_under_v1_names_its_scope_and_its_problems(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        if not path.startswith("/v1/"):
            continue
        (needed,) = operation["security"]
        assert needed["token"] in (["read"], ["write"], ["pins"]), (method, path)
        assert {"401", "403", "422", "503"} <= set(operation["responses"]), (method, path)
        if "{" in path:
            assert "404" in operation["responses"], (method, path)


def test_every_error_is_described_as_a_problem_document(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        for status, answer in operation["responses"].items():
            if status >= "400" and path not in {"/webhooks/seam", "/readyz"}:
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/([\w.-]+)", str(description)))
    assert names <= set(description["components"]["schemas"])
    assert "HTTPValidationError" not in description["components"]["schemas"]


def examples_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    extra: Any = model.model_config.get("json_schema_extra") or {}
    found: list[dict[str, Any]] = extra.get("examples", [])
    return found


def models() -> list[type[BaseModel]]:
    named = [*vars(schemas).values(), *vars(bodies).values()]
    return [thing for thing in named if isinstance(thing, type) and issubclass(thing, BaseModel)]


EXAMPLES = [(model, example) for model in models() for example in examples_of(model)]


@pytest.mark.parametrize(("model", "example"), EXAMPLES, ids=[model.__name__ for model, _ in EXAMPLES])
def test_an_example_is_valid_and_complete(model: type[BaseModel], example: dict[str, Any]) -> None:
    made = model.model_validate(example)
    if issubclass(model, schemas.Answer):
        assert made.model_dump(mode="json") == example


def test_what_matters_has_an_example() -> None:
    named = {model.__name__ for model, _ in EXAMPLES}
    assert {
        "AccessCode",
        "CreatedAccessCode",
        "CreateAccessCode",
        "TrackAccessCodes",
        "AcknowledgeFlag",
        "Flag",
        "Event",
        "Unreadable",
        "Alert",
        "Device",
        "Summary",
        "ProblemDocument",
        "Pin",
    } <= named


def test_every_problem_stands_in_the_documentation() -> None:
    page = (DOCS / "problems.md").read_text(encoding="utf-8")
    kinds = {error.type for error in descendants(ApiError) | {StorageUnavailable, StorageConflict}}
    kinds |= {slug for slug, _ in problems.HTTP_TYPES.values()} | {LatchwatchError.type}
    kinds -= {"conflict"}
    missing = {kind for kind in kinds if f"`{TYPE_PREFIX}{kind}`" not in page}
    assert not missing


def test_no_documented_problem_is_invented() -> None:
    page = (DOCS / "problems.md").read_text(encoding="utf-8")
    known = {error.type for error in descendants(LatchwatchError)} | {slug for slug, _ in problems.HTTP_TYPES.values()}
    told = set(re.findall(rf"`{TYPE_PREFIX}([\w-]+)`", page))
    assert told <= known | {LatchwatchError.type}


def descendants(error: type[LatchwatchError]) -> set[type[LatchwatchError]]:
    below = {error}
    for child in error.__subclasses__():
        below |= descendants(child)
    return {kind for kind in below if not issubclass(kind, SeamError)}
