"""Errors as the OpenAPI document has them."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from service.errors import PROBLEM_TYPE, ServiceError
from service.schemas import Problem


def query_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe a model's fields as parameters of the query."""
    fields = model.model_json_schema(by_alias=True)["properties"]
    return [
        {"name": name, "in": "query", "description": field.pop("description"), "schema": field}
        for name, field in fields.items()
    ]


def header(name: str, kind: str, description: str) -> dict[str, Any]:
    """Describe a header that may be sent."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": kind}}


def documented(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Describe errors for OpenAPI, by status, each with an example."""
    described: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        found = described.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    PROBLEM_TYPE: {"schema": Problem.model_json_schema(), "examples": {}},
                },
            },
        )
        sentence = (kind.__doc__ or "").strip()
        found["description"] = f"{found['description']} {sentence}".strip()
        shown = {
            "title": HTTPStatus(kind.status).phrase,
            "status": kind.status,
            "detail": kind.example,
            "kind": kind.kind,
            "request_id": "frame-17",
        }
        found["content"][PROBLEM_TYPE]["examples"][kind.kind] = {"value": shown}
    return described
