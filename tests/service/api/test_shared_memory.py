"""What a client does to the file of its region costs it an answer, and the service nothing."""

import errno
import fcntl
import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from segmif.client import Client, pack
from segmif.runtime import open_runtime
from service.memory.shared_regions import remove_leftovers
from service.settings import Settings
from tests.service.conftest import open_regions
from tests.service.server.test_safety import unharmed
from tests.service.server.test_service import started

MEMORY = Path("/dev/shm")
SIDE = 256
RAMP = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8)
MESSAGE = pack(np.dstack([RAMP] * 3), RAMP)
SIZE = SIDE * SIDE * 5


def cut(file: Path) -> None:
    os.truncate(file, 0)


def cut_within_a_page(file: Path) -> None:
    os.truncate(file, 100)


def replace(file: Path) -> None:
    file.unlink()
    file.write_bytes(b"mine")


def replace_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


TAMPERING: tuple[Callable[[Path], None], ...] = (
    cut,
    cut_within_a_page,
    Path.unlink,
    lambda file: file.chmod(0),
    replace,
    replace_by_a_pipe,
    replace_by_a_link,
)


def make(client: httpx.Client, size: int = SIZE) -> tuple[str, Path]:
    made = client.post("/shared-memory", params={"bytes": size}).json()
    return made["id"], MEMORY / made["name"]


def test_nothing_that_a_client_does_to_its_file_ends_the_service(stand_in_weights: Path) -> None:
    with started(stand_in_weights) as (process, client):
        for tamper in TAMPERING:
            id, file = make(client)
            with file.open("r+b") as opened:
                assert os.fstat(opened.fileno()).st_blocks * 512 >= SIZE  # reserved, not promised
                opened.write(MESSAGE[64:])
            tamper(file)
            answer = client.post(f"/shared-memory/{id}/fuse-segment", content=MESSAGE[:64])
            if tamper in (cut, cut_within_a_page):
                assert (answer.status_code, answer.json()["kind"]) == (422, "bad_wire")
                assert "its client has cut it" in answer.json()["detail"]
            else:
                assert answer.status_code == 200
            assert client.delete(f"/shared-memory/{id}").status_code == 204
            left = file.is_symlink() or file.exists()
            assert left == tamper.__name__.startswith("replace")  # what is the client's own stays
            if left:
                file.unlink()
        assert process.poll() is None
        _, killed = make(client)
    assert killed.exists()  # the service was killed
    with started(stand_in_weights) as (_, client):
        assert not killed.exists()


@pytest.fixture
def sharing(serve: Any, stand_in_weights: Path) -> Any:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        yield client


def test_a_region_without_room_is_told(
    sharing: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    there, id = open_regions(), token_hex(16)
    for name, small in (
        ("posix_fallocate", full),  # another program was faster
        ("statvfs", lambda _: SimpleNamespace(f_bavail=30, f_blocks=200, f_frsize=4096)),
    ):
        with monkeypatch.context() as short:
            short.setattr(f"service.memory.shared_regions.os.{name}", small)
            short.setattr("service.memory.shared_regions.token_hex", lambda _: id)
            answer = sharing.post("/shared-memory", params={"bytes": 50_000})
        assert (answer.status_code, answer.json()["kind"]) == (507, "no_shared_memory")
        assert "--shm-size" in answer.json()["detail"]
    assert open_regions() == there and not (MEMORY / f"segmif-{id}").exists()
    id, file = make(sharing)
    file.write_bytes(MESSAGE[64:])
    with monkeypatch.context() as short:
        short.setattr(
            "service.memory.shared_regions.os.pwrite", full
        )  # the client has given its pages back
        answer = sharing.post(f"/shared-memory/{id}/fuse-segment", content=MESSAGE[:64])
    assert (answer.status_code, answer.json()["kind"]) == (507, "no_shared_memory")
    unharmed(sharing)


@pytest.fixture
def forwarding(serve: Any, stand_in_weights: Path) -> Any:
    """A service that believes what is said of clients, so that there can be several."""
    settings = Settings(
        weights=stand_in_weights, shared_memory=True, trusted_proxies=(ip_network("127.0.0.1"),)
    )
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        yield client


def ask_as(client: httpx.Client, number: int, size: int = 100) -> httpx.Response:
    headers = {"X-Forwarded-For": f"198.51.100.{number}"}
    return client.post("/shared-memory", params={"bytes": size}, headers=headers)


def test_one_client_leaves_regions_for_others(forwarding: httpx.Client) -> None:
    assert [ask_as(forwarding, 1).status_code for _ in range(8)] == [201] * 8
    refused = ask_as(forwarding, 1)
    assert (refused.status_code, refused.json()["kind"]) == (503, "busy")
    assert "8 regions of this client are in use, which is its share" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "60"
    assert [ask_as(forwarding, number).status_code for number in (2, 3, 4)] == [201, 201, 503]
    unharmed(forwarding)


def test_one_client_leaves_bytes_for_others(
    forwarding: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(_: object) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=1000 - taken, f_blocks=1000, f_frsize=4096)

    taken = 0
    monkeypatch.setattr("service.memory.shared_regions.os.statvfs", small)
    size = 300 * 4096  # a third of the 900 pages that regions may have
    for client, expected in ((1, 201), (1, 201), (1, 503), (2, 201)):
        answer = ask_as(forwarding, client, size)
        assert answer.status_code == expected, answer.text
        taken += 300 * (expected == 201)
    assert ask_as(forwarding, 3, size).json()["kind"] == "no_shared_memory"


def test_a_service_that_starts_meanwhile_leaves_a_new_region(
    sharing: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def another_starts_before(file: int, how: int) -> None:
        monkeypatch.undo()
        remove_leftovers()
        lock(file, how)

    monkeypatch.setattr("service.memory.shared_regions.fcntl.flock", another_starts_before)
    _, file = make(sharing)
    assert file.exists()


def test_a_client_outlives_a_region_that_is_cut(sharing: httpx.Client) -> None:
    there = open_regions()
    with Client(str(sharing.base_url), shared_memory=True) as ours:
        frames = np.dstack([RAMP] * 3), RAMP
        assert ours.fuse(*frames).fused is not None
        regions = open_regions() - there
        assert regions
        for file in regions:
            os.truncate(file, 0)
        assert ours.fuse(*frames).fused is not None  # it writes anew what it sends
    unharmed(sharing)
