"""Errors as the OpenAPI document has them."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from ..errors import ServiceError, TooManyGuesses, Unauthorized
from ..schemas.answers import Problem
from .problems import OF_EVERY_PATH, PROBLEM_TYPE, PROBLEM_TYPES


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a model without references: they would point into another document."""
    schema = model.model_json_schema(by_alias=True)
    parts = schema.pop("$defs", {})

    def whole(node: Any) -> Any:
        if isinstance(node, list):
            return [whole(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return whole(parts[node["$ref"].rpartition("/")[2]])
        return {name: whole(item) for name, item in node.items()}

    described: dict[str, Any] = whole(schema)
    return described


def query_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe a model's fields as parameters of the query."""
    fields = schema_of(model)["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "explode": False,  # lists have commas
            "description": field.pop("description"),
            "schema": field,
        }
        for name, field in fields.items()
    ]


def header(name: str, kind: str, description: str) -> dict[str, Any]:
    """Describe a header that may be sent."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": kind}}


def documented(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Describe errors, and those of every path, for OpenAPI by status, each with an example."""
    described: dict[int | str, dict[str, Any]] = {}
    guarded = (TooManyGuesses,) if Unauthorized in errors else ()
    for error in (*errors, *guarded, *OF_EVERY_PATH):
        how = PROBLEM_TYPES[error]
        found = described.setdefault(
            how.status,
            {
                "description": "",
                "content": {
                    PROBLEM_TYPE: {"schema": schema_of(Problem), "examples": {}},
                },
            },
        )
        sentence = (error.__doc__ or "").strip().partition("\n")[0]
        found["description"] = f"{found['description']} {sentence}".strip()
        shown = {
            "title": HTTPStatus(how.status).phrase,
            "status": how.status,
            "detail": how.example or error.sentence,
            "kind": error.kind,
            "request_id": "frame-17",
        }
        found["content"][PROBLEM_TYPE]["examples"][error.kind] = {"value": shown}
    return described
