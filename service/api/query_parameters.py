"""Queries: known parameters, once each, and no secret that a log would keep."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import QueryParams
from starlette.types import Scope

from ..errors import BadParameter
from ..schemas.pair_options import StreamOptions

KNOWN = frozenset(
    {field.alias or name for name, field in StreamOptions.model_fields.items()}
    | {"bytes", "sample", "right", "down"}
)
SECRETS = frozenset(
    {"token", "access_token", "auth", "authorization", "bearer", "key", "api_key", "apikey"}
    | {"api-key", "password", "secret"}
)


def hide_secrets(scope: Scope) -> None:
    """
    Empty the unknown parameters of a query before it is logged, traced or answered.

    A client that cannot set headers puts its token there; its name stays in the scope's state.
    """
    query = scope.get("query_string")
    if not query:
        return
    fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if all(name in KNOWN for name, _ in fields):
        return
    kept = [(name, value if name in KNOWN else "") for name, value in fields]
    scope["query_string"] = urlencode(kept).encode()
    hidden = [name for name, _ in fields if name.lower() in SECRETS]
    scope.setdefault("state", {})["hidden"] = hidden


def reject_repeated(query: QueryParams) -> Mapping[str, Any]:
    """The parameters of a query; raises BadParameter for one that is repeated."""
    fields = dict(query)
    if len(query.multi_items()) > len(fields):
        names = [name for name, _ in query.multi_items()]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadParameter(f"parameter {twice!r} stands in the query {names.count(twice)} times")
    return fields
