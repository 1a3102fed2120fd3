"""Log lines for people or for machines, each with its request, and addresses without passwords."""

import json
import logging
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

from segmif.addresses import masked

from ..settings.types import LogFormat

current_request: ContextVar[str | None] = ContextVar("current_request", default=None)

access = logging.getLogger("service.access")


class JsonLines(logging.Formatter):
    """One JSON object a line; `extra={"fields": {...}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
            "request_id": current_request.get(),
        } | getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps({name: value for name, value in entry.items() if value is not None})


class TextLines(logging.Formatter):
    """The same for people: the fields behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down."""
        return masked(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write a record down, without its exception."""
        fields = getattr(record, "fields", None) or {"request_id": current_request.get()}
        shown = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        return f"{super().formatMessage(record)} {shown}".rstrip()


def is_needed(record: logging.LogRecord) -> bool:
    """
    Whether a record is not one of uvicorn's on WebSockets and its address, which ours replace.

    Those hold the whole query, call every refused handshake an error, and HTTPS HTTP.
    """
    return not str(record.msg).startswith(
        (
            "Uvicorn running on",
            '%s - "WebSocket %s"',
            "ASGI callable returned without completing handshake",
        )
    )


def log_config(form: LogFormat) -> dict[str, Any]:
    """How logging is set up, for `logging.config.dictConfig`."""
    formatter = JsonLines if form == "json" else TextLines
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"needed": {"()": lambda: is_needed}},
        "formatters": {"lines": {"()": formatter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "lines",
                "filters": ["needed"],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": "INFO", "handlers": ["stderr"]},
        # It logs each request with the whole address, whose path may be a secret.
        "loggers": {"httpx": {"level": "WARNING"}},
    }
