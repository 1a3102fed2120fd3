"""The service behind a real server, around the network at hand."""

import atexit
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from segmif.runtime import Runtime, open_runtime
from service.app import create_app
from service.live.rig_settings import LiveSettings
from service.pipeline.align import RigAligner
from service.pipeline.decoder.process import COMMAND, Template
from service.scheduler.model_loading import Candidate
from service.server.transport import server_config
from service.settings import Settings

Serve = Callable[..., AbstractContextManager[httpx.Client]]
Start = Callable[..., AbstractContextManager[httpx.Client]]


class LastingTemplate(Template):
    """The program that decodes, for all services here: to start one takes 0.4 s of CPU time."""

    def close(self) -> None:
        """Stay for the next service; what was forked ends as the service closes its channels."""


LASTING = LastingTemplate()
atexit.register(Template.close, LASTING)


def template_of(command: Sequence[str]) -> Template:
    """What forks decoders, unless a test has a command of its own."""
    return LASTING if command is COMMAND else Template(command)


def open_regions() -> set[Path]:
    """Regions of shared memory that services of this process hold; others have theirs there too."""
    links = []
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # what listed the folder is closed by now
            links.append(file.readlink())
    return {link for link in links if str(link).startswith("/dev/shm/segmif-")}


def hear_ctrl_c() -> None:
    """Undo what a shell does to commands in the background, whose children it makes deaf."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until_ready(client: httpx.Client) -> None:
    """Return once the service is ready; fail after a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = client.get("/readyz")
        except httpx.TransportError as error:
            answer = httpx.Response(503, text=str(error))
        if answer.status_code == 200:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


@pytest.fixture
def anyio_backend() -> str:
    """Coroutines among the tests run on asyncio, as uvicorn does."""
    return "asyncio"


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Start a service in a thread: `with serve(settings, runtime) as client`."""
    return serving


@pytest.fixture(scope="module")
def start(serve: Serve, stand_in_weights: Path) -> Start:
    """Start a service around the stand-in network: `with start(max_pending=3) as client`."""

    @contextmanager
    def started(**settings: Any) -> Iterator[httpx.Client]:
        chosen = Settings.model_validate({"weights": stand_in_weights} | settings)
        with serve(chosen, open_runtime(stand_in_weights, threads=1)) as client:
            yield client

    return started


@contextmanager
def serving(
    settings: Settings,
    runtime: Runtime,
    rig_aligner: RigAligner | None = None,
    reference: Runtime | None = None,
    trusting: ssl.SSLContext | None = None,
    candidate: Candidate | None = None,
    rigs: LiveSettings | None = None,
) -> Iterator[httpx.Client]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("service.pipeline.decoder.pool.Template", template_of)
            app = create_app(
                settings, runtime, rig_aligner, reference, candidate=candidate, rigs=rigs
            )
        server = uvicorn.Server(server_config(app, settings, app.state.dispatcher.metrics.refused))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            url = f"http{'s' if trusting else ''}://127.0.0.1:{listening.getsockname()[1]}"
            # Without TLS nobody is to be trusted; to read all authorities takes 24 ms.
            with httpx.Client(base_url=url, timeout=20, verify=trusting or False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="session")
def client(stand_in_weights: Path) -> Iterator[httpx.Client]:
    """A client of a service around the stand-in network."""
    settings = Settings(weights=stand_in_weights)
    with serving(settings, open_runtime(stand_in_weights, threads=1)) as client:
        yield client
