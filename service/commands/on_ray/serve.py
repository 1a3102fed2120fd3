"""`segmif serve --ray`: many replicas of the service behind Ray's proxy."""

import os
import signal
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any
from urllib.request import urlopen

from segmif.addresses import masked
from segmif.cli import NotInstalled
from segmif.interrupts import end_in_order

from ...scheduler.model_loading import load_model
from ...server.transport import check_listening
from ...settings import Settings, load_settings
from ...settings.environment import PREFIX
from .cluster import ADDRESS, cluster, for_replicas, import_ray, replica_count, share_of
from .front import PRESENT
from .replica import Replica

NAME = "segmif"
CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"  # Ray's own variable
ROUTER = f"{__package__}.router:StreamRouter"
FRONT = f"{__package__}.front:middlewares"
FRONT_S = 10.0  # for the answer of our part of the proxy
START_S = 60.0  # beyond the self-test, until a replica that starts counts as ill


def serve_on_ray(settings: Settings, replicas: int | None) -> int:
    """Answer until a signal stops it; gives the exit code."""
    try:
        check_servable(settings)
        export_bounds(settings)
        settings = for_replicas(settings)
        with cluster() as ray:
            share = share_of(settings)
            room = replica_count(ray, share)
            if replicas and replicas > room:
                raise ValueError(f"--replicas {replicas}: Ray has room for {room}")
            run_until_stopped(settings, scaling(settings, replicas, room), share)
    except (OSError, ValueError, NotInstalled, RuntimeError) as error:
        print(masked(str(error)), file=sys.stderr)
        return 2
    return 0


def application(arguments: Mapping[str, Any]) -> Any:
    """The application of a config file for Ray: its arguments are settings, as in a TOML file."""
    settings = for_replicas(load_settings(arguments))
    return bound(settings, {}, share_of(settings))


def check_servable(settings: Settings) -> None:
    """Raise ValueError or OSError for what cannot be served on Ray, and as `load_model`."""
    import_ray()
    if settings.shared_memory:
        raise ValueError(
            "shared_memory: a region belongs to one process, and Ray's proxy does not know to "
            "which; serve without --ray, or without shared memory"
        )
    if not os.environ.get(ADDRESS):
        check_listening(settings)
        load_model(settings, with_candidate=True).close()


def export_bounds(settings: Settings) -> None:
    """Have Ray's proxy know the bounds, and our part before it; the environment is inherited."""
    os.environ[CALLBACK] = FRONT
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            os.environ[f"{PREFIX}{name}".upper()] = str(value)


def scaling(settings: Settings, replicas: int | None, room: int) -> dict[str, Any]:
    """So many replicas; if nobody states how many, as the requests in work need."""
    if replicas:
        return {"num_replicas": replicas}
    return {
        "num_replicas": "auto",
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": room,
            "target_ongoing_requests": max(1, settings.max_pending // 2),
        },
    }


def bound(settings: Settings, scaled: dict[str, Any], share: dict[str, float]) -> Any:
    """
    The application of Ray Serve.

    So many requests may be under way that our admission refuses first, with its Retry-After.
    """
    from ray import serve

    deployment = serve.deployment(
        name=NAME,
        ray_actor_options=share,
        max_ongoing_requests=settings.max_connections,
        max_queued_requests=settings.max_connections,
        backpressure_config={"retry_after_s": 1},
        request_router_config={"request_router_class": ROUTER},
        graceful_shutdown_timeout_s=settings.drain_s,
        health_check_timeout_s=settings.self_test_s + START_S,
        **scaled,
    )
    return deployment(serve.ingress()(Replica)).bind(settings)


def run_until_stopped(settings: Settings, scaled: dict[str, Any], share: dict[str, float]) -> None:
    """Serve until SIGINT or SIGTERM, then drain; raises RuntimeError if no replica starts."""
    from ray import serve

    secure = settings.tls_certificate, settings.tls_key
    files = dict(zip(("ssl_certfile", "ssl_keyfile"), map(_path, secure), strict=True))
    http = {
        "host": settings.host,
        "port": settings.port,
        "keep_alive_timeout_s": settings.keep_alive_s,
    }
    end_in_order()
    serve.start(http_options={**http, **{key: path for key, path in files.items() if path}})
    stopped = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        serve.run(bound(settings, scaled, share), name=NAME, route_prefix="/")
        scheme = "https" if files["ssl_certfile"] else "http"
        if os.environ.get(ADDRESS):
            check_front(f"{scheme}://localhost:{settings.port}{PRESENT}")
        print(f"answers at {scheme}://{settings.host}:{settings.port}", file=sys.stderr)
        stopped.wait()
    finally:
        serve.shutdown()


def check_front(url: str) -> None:
    """Raise ValueError if Ray's proxy lacks our part: a cluster has its own environment."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        with urlopen(url, timeout=FRONT_S, context=trusting):
            return
    except OSError as error:
        raise ValueError(
            f"Ray's proxy does not bound what clients send ({url}: {error}): set {CALLBACK}="
            f"{FRONT} in the environment of every machine of the cluster, before Ray starts"
        ) from error


def _path(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None
