"""A pair's stages as spans of OpenTelemetry, within the request's own span, which FastAPI makes."""

from opentelemetry import trace
from starlette.types import ASGIApp, Receive, Scope, Send

from ..pipeline.stage_times import StageTimes
from ..settings.limits import known_path

# Does nothing until OpenTelemetry's SDK is installed and set up by its OTEL_ variables.
_tracer = trace.get_tracer("segmif.service")


def trace_id() -> str | None:
    """The current trace, for the log line."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def trace_stages(times: StageTimes) -> None:
    """Add the stages of an answered pair to the current span."""
    for stage, began_ns in times.began_ns.items():
        span = _tracer.start_span(stage, start_time=began_ns)
        span.end(began_ns + int(times.ms[stage] * 1e6))


def hide_address(scope: Scope) -> None:
    """
    Reduce a request's path to what the service itself knows, and empty its query.

    FastAPI writes both into its span. A path may hold the name of a region or stream, or a secret
    that was sent to the wrong place. The route's template is in the span as `http.route`.
    """
    if scope["type"] == "http":
        scope["address"] = scope["path"], scope["query_string"]
        scope["path"], scope["query_string"] = known_path(scope["path"]), b""


class WithAddress:
    """Gives a request back the path and query that `hide_address` has taken."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if "address" in scope:
            scope["path"], scope["query_string"] = scope.pop("address")
        await self.app(scope, receive, send)
