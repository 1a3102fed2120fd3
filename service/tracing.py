"""A pair's stages as spans of OpenTelemetry, within the request's own span, which FastAPI makes."""

from opentelemetry import trace

from service.times import Times

# Does nothing until OpenTelemetry's SDK is installed and set up by its OTEL_ variables.
_tracer = trace.get_tracer("segmif.service")


def trace_id() -> str | None:
    """The current trace, for the log line."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def trace_stages(times: Times) -> None:
    """Add the stages of an answered pair to the current span."""
    for stage, began_ns in times.began_ns.items():
        span = _tracer.start_span(stage, start_time=began_ns)
        span.end(began_ns + int(times.ms[stage] * 1e6))
