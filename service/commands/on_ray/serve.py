"""`segmif serve --ray`: many replicas of the service behind Ray's proxy."""

import os
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.request import urlopen

from segmif.addresses import masked
from segmif.cli import NotInstalled
from segmif.files import words_of
from segmif.interrupts import end_in_order, hung_up

from ...errors import EngineFailed, ServiceError
from ...scheduler.model_loading import hangs, load_model, too_slow
from ...scheduler.self_test import test_aside
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
# What Ray's proxy is made with, and our part of it; listed in docs/guides/ray.md.
AT_START_ONLY = (
    *("host", "port", "tls_certificate", "tls_key", "keep_alive_s"),
    *("max_body_bytes", "max_buffered_bytes", "body_idle_s", "body_total_s"),
)


def serve_on_ray(settings: Settings, replicas: int | None, reread: Callable[[], Settings]) -> int:
    """Answer until a signal stops it, SIGHUP: with what `reread` gives; gives the exit code."""
    try:
        check_servable(settings)
        with ExitStack() as stack:
            share = share_of(for_replicas(settings))
            with exported_bounds(settings):
                ray = stack.enter_context(cluster(spare_cores(share)))
            room = replica_count(ray, share, spare_cores(share))
            if replicas and replicas > room:
                raise ValueError(f"--replicas {replicas}: Ray has room for {room}")
            run_until_stopped(settings, partial(deployed, replicas, room), reread)
    except (OSError, ValueError, NotInstalled, RuntimeError) as error:
        print(masked(words_of(error)), file=sys.stderr)
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


@contextmanager
def exported_bounds(settings: Settings) -> Iterator[None]:
    """Have Ray, while it starts, take the bounds and our part of its proxy into its environment."""
    added = {CALLBACK: FRONT}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            added[f"{PREFIX}{name}".upper()] = str(value)
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:  # settings that are read anew must not find them
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def spare_cores(share: Mapping[str, float]) -> float:
    """What a machine of our own counts beyond its cores: new replicas start beside old ones."""
    own = not os.environ.get(ADDRESS) and "num_gpus" not in share
    return share["num_cpus"] if own else 0


def deployed(replicas: int | None, room: int, settings: Settings) -> Any:
    """The application of Ray Serve for settings of now."""
    share = share_of(settings := for_replicas(settings))
    scaled = scaling(settings, replicas, room)
    if spare_cores(share):
        scaled["max_surge_percent"] = 1  # one replica
    return bound(settings, scaled, share)


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


def run_until_stopped(
    settings: Settings, made: Callable[[Settings], Any], reread: Callable[[], Settings]
) -> None:
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
    signals = SimpleQueue[int]()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda came, _: signals.put(came))
    if hung_up():  # during the start
        signals.put(signal.SIGHUP)
    try:
        serve.run(made(settings), name=NAME, route_prefix="/")
        scheme = "https" if files["ssl_certfile"] else "http"
        if os.environ.get(ADDRESS):
            check_front(f"{scheme}://localhost:{settings.port}{PRESENT}")
        print(f"answers at {scheme}://{settings.host}:{settings.port}", file=sys.stderr)
        while signals.get() == signal.SIGHUP:
            settings = renewed(settings, made, reread)
    finally:
        serve.shutdown()


def renewed(
    last: Settings, made: Callable[[Settings], Any], reread: Callable[[], Settings]
) -> Settings:
    """Replace one replica after the other; gives the settings that serve then."""
    from ray import serve

    try:
        settings = reread()
        check_share(last, settings)
        if not os.environ.get(ADDRESS):
            check_network(settings)
    except (OSError, ValueError, ServiceError) as error:
        print(
            f"nothing is renewed, all stays as it was: {masked(words_of(error))}", file=sys.stderr
        )
        return last
    for name in AT_START_ONLY:
        if getattr(last, name) != getattr(settings, name):
            print(f"{name} has changed; it takes effect at the next start", file=sys.stderr)
    try:
        serve.run(made(settings), name=NAME, route_prefix="/")
    except RuntimeError as error:
        print(f"no replica starts, the last settings come back: {error}", file=sys.stderr)
        serve.run(made(last), name=NAME, route_prefix="/")
        return last
    print(f"renewed; the weights are {settings.weights}", file=sys.stderr)
    return settings


def check_share(last: Settings, settings: Settings) -> None:
    """Raise ValueError if a new replica would take more or less of the cluster."""
    old, new = (share_of(for_replicas(each)) for each in (last, settings))
    if old != new:
        raise ValueError(f"a replica takes {old}, with these settings {new}: stop and start anew")


def check_network(settings: Settings) -> None:
    """Raise as `load_model`, or EngineFailed, unless the golden pair comes out right."""
    model = load_model(settings, with_candidate=True)
    if hangs(model.runtime, settings.self_test_s):
        raise EngineFailed(too_slow(settings.self_test_s))
    try:
        test_aside(model)
    finally:
        model.close()


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
