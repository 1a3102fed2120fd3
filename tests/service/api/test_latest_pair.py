"""Raw pairs handed out to who calibrates, and a calibration that is guided by them."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from email import message_from_bytes
from ipaddress import ip_network
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr, ValidationError
from websockets.sync.client import connect

from calibration.commands import live
from segmif import cli
from segmif.client import pack
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.api import latest_pair
from service.scheduler import latest_pairs
from service.settings import Settings

TOKEN = "let me see"
RAW = {"Content-Type": "application/octet-stream"}
VISIBLE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
COUNTS = np.random.default_rng(2).integers(20_000, 30_000, (40, 64), np.uint16)  # other proportions


@pytest.fixture
def client(serve: Any, stand_in_weights: Path) -> Iterator[httpx.Client]:
    settings = Settings(weights=stand_in_weights, hand_out_pairs=True, token=SecretStr(TOKEN))
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def send(client: httpx.Client, stream: str, **query: Any) -> int:
    body = pack(VISIBLE, COUNTS)
    answer = client.post(
        "/fuse-segment", content=body, headers=RAW, params={"stream": stream, **query}
    )
    return answer.status_code


def handed_out(answer: httpx.Response) -> tuple[NDArray[Any], NDArray[Any], dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts: Any = message_from_bytes(head + answer.content).get_payload()
    visible, infrared, meta = (part.get_payload(decode=True) for part in parts)
    return codecs.decode_visible(visible), codecs.decode_infrared(infrared), json.loads(meta)


def test_who_asks_for_pairs_keeps_no_other_pair_waiting(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, "rig")
    may, plain = Event(), latest_pair._encoded

    def slow(*given: Any) -> Any:
        may.wait(20)
        return plain(*given)

    monkeypatch.setattr(latest_pair, "_encoded", slow)
    asking = [Thread(target=client.get, args=("/streams/rig/pair",)) for _ in range(4)]
    for thread in asking:
        thread.start()
    time.sleep(0.3)  # until they are at work
    files = {"visible": codecs.encode_png(VISIBLE), "infrared": codecs.encode_png(VISIBLE[..., 0])}
    answer = client.post("/fuse-segment", files=files, params={"deadline_ms": 5000})
    may.set()
    for thread in asking:
        thread.join()
    assert answer.status_code == 200, answer.text


def test_the_newest_pair_of_a_stream_as_it_came(client: httpx.Client) -> None:
    missing = client.get("/streams/rig/pair")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["kind"] == "no_pair"
    # Not calibrated yet, so not to be fused; to calibrate it is just what is wanted.
    assert send(client, "rig", visible_ns=7, infrared_ns=9) == 422
    first = client.get("/streams/rig/pair")
    visible, infrared, meta = handed_out(first)
    np.testing.assert_array_equal(visible, VISIBLE)
    np.testing.assert_array_equal(infrared, COUNTS)
    assert (meta["stream"], meta["visible_ns"], meta["infrared_ns"]) == ("rig", 7, 9)
    known = {"If-None-Match": first.headers["ETag"]}
    assert client.get("/streams/rig/pair", headers=known).status_code == 304
    url = str(client.base_url).replace("http", "ws", 1)
    token = {"Authorization": client.headers["Authorization"]}
    with connect(f"{url}/stream?stream=rig", additional_headers=token) as socket:
        socket.send(pack(VISIBLE[::-1], COUNTS[::-1]))
        socket.recv(20)
    visible, infrared, meta = handed_out(client.get("/streams/rig/pair", headers=known))
    np.testing.assert_array_equal(visible, VISIBLE[::-1])
    np.testing.assert_array_equal(infrared, COUNTS[::-1])
    assert meta["visible_ns"] is None


def test_a_stream_belongs_to_all_addresses_of_an_ipv6_network(
    serve: Any, stand_in_weights: Path
) -> None:
    """Whose addresses change while it sends, as privacy extensions have it (RFC 8981)."""
    settings = Settings(
        weights=stand_in_weights, hand_out_pairs=True, trusted_proxies=(ip_network("127.0.0.1"),)
    )
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:

        def kept(address: str, *, socket: bool = False) -> str:
            client.headers["X-Forwarded-For"] = address
            if socket:
                url = str(client.base_url).replace("http", "ws", 1)
                said = {"X-Forwarded-For": address}
                with connect(f"{url}/stream?stream=rig", additional_headers=said) as opened:
                    opened.send(pack(VISIBLE, COUNTS))
                    opened.recv(20)
            else:
                send(client, "rig")
            return str(client.get("/streams/rig/pair").headers["etag"])

        first = kept("2001:db8:1:2::3")
        second = kept("2001:db8:1:2:ffff::4")
        third = kept("2001:db8:1:2::5", socket=True)
        assert len({first, second, third}) == 3
        assert kept("2001:db8:1:3::3") == third  # another network's pair


def test_only_the_newest_streams_are_kept(client: httpx.Client) -> None:
    names = [f"rig-{number}" for number in range(latest_pairs.KEPT_PAIRS + 1)]
    for name in names:
        send(client, name)
    statuses = [client.get(f"/streams/{name}/pair").status_code for name in names]
    assert statuses == [404] + [200] * latest_pairs.KEPT_PAIRS


@pytest.mark.parametrize("bound", ["KEPT_PAIRS", "KEPT_BYTES"])
def test_one_client_with_many_streams_leaves_others_their_pair(
    serve: Any, stand_in_weights: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = VISIBLE.nbytes + COUNTS.nbytes
    monkeypatch.setattr(latest_pairs, bound, 3 if bound == "KEPT_PAIRS" else 3 * size)
    settings = Settings(
        weights=stand_in_weights, hand_out_pairs=True, trusted_proxies=(ip_network("127.0.0.1"),)
    )
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        for address, names in (("198.51.100.1", ["rig"]), ("198.51.100.2", ["a", "b", "c", "d"])):
            client.headers["X-Forwarded-For"] = address
            for name in names:
                send(client, name)
        kept = [name for name in ("rig", "a", "b", "c", "d") if is_kept(client, name)]
    assert kept == ["rig", "c", "d"]


def is_kept(client: httpx.Client, stream: str) -> bool:
    return client.get(f"/streams/{stream}/pair").status_code == 200


def test_sockets_without_a_streams_name_leave_no_pair(client: httpx.Client) -> None:
    """Else those of a few closed ones would drive the rigs' own out."""
    names = [f"rig-{number}" for number in range(latest_pairs.KEPT_PAIRS)]
    for name in names:
        send(client, name)
    url = str(client.base_url).replace("http", "ws", 1)
    token = {"Authorization": client.headers["Authorization"]}
    for _ in names:
        with connect(f"{url}/stream", additional_headers=token) as socket:
            socket.send(pack(VISIBLE, COUNTS))
            socket.recv(20)
    statuses = [client.get(f"/streams/{name}/pair").status_code for name in names]
    assert statuses == [200] * latest_pairs.KEPT_PAIRS


def test_no_more_bytes_are_kept_than_allowed(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest_pairs, "KEPT_BYTES", VISIBLE.nbytes + COUNTS.nbytes)
    for name in ("first", "second"):
        send(client, name)
    assert client.get("/streams/first/pair").status_code == 404
    assert client.get("/streams/second/pair").status_code == 200


def test_who_may_ask(client: httpx.Client, stand_in_weights: Path) -> None:
    described = client.get("/openapi.json").json()["paths"]["/streams/{stream}/pair"]["get"]
    problem = described["responses"]["404"]["content"]["application/problem+json"]
    assert problem["examples"]["no_pair"]["value"]["status"] == 404
    send(client, "rig")
    del client.headers["Authorization"]
    assert client.get("/streams/rig/pair").status_code == 401
    with pytest.raises(ValidationError, match="set SEGMIF_TOKEN"):
        Settings(hand_out_pairs=True, host="10.0.0.1", open_to_all=True)
    assert not Settings().hand_out_pairs


def shown(left: int, top: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A heated chessboard of 9x6 corners, facing two cameras that see the same view."""
    dark = np.indices((7, 10)).sum(0) % 2
    board = cv2.GaussianBlur(np.kron(dark, np.ones((30, 30))), (0, 0), 0.7)
    squares = np.zeros((480, 640))
    squares[top : top + 210, left : left + 300] = board
    visible = np.repeat((200 - 150 * squares)[..., None], 3, axis=2).astype(np.uint8)
    return visible, (25_000 + 900 * squares).astype(np.uint16)


def run(monkeypatch: pytest.MonkeyPatch, keep: Path, *words: object) -> int:
    board = ["--board", "chessboard", "--corners", "9x6", "--square-mm", 23.1]
    command = ["calibration", "live", *board, "--keep", keep, "--port", 0, *words]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    return cli.run("calibration", "", {"live": live})


def test_live_finds_boards_through_the_service(
    client: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = {1_790_000_000_000_000_000: shown(60, 50), 1_790_000_010_000_000_000: shown(280, 220)}

    def feed() -> None:
        """Each board rests until a view of it is taken."""
        for number, (first_ns, frames) in enumerate(moments.items(), 1):
            until = time.monotonic() + 20
            for at_ns in range(first_ns, first_ns + 9 * 10**9, 10**8):
                if time.monotonic() > until or len(kept("infrared")) == number:
                    break
                query: dict[str, Any] = {
                    "stream": "rig",
                    "visible_ns": at_ns,
                    "infrared_ns": at_ns + 10**6,
                }
                client.post("/fuse-segment", content=pack(*frames), headers=RAW, params=query)
                time.sleep(0.25)

    def kept(camera: str) -> list[Path]:
        return sorted((tmp_path / "kept" / camera).glob("[0-9]*.png"))

    monkeypatch.setattr(live, "MIN_VIEWS", 2)  # else as few are refused before the first
    feeding = Thread(target=feed)
    feeding.start()
    source = ["--service", client.base_url, "--stream", "rig", "--token", TOKEN]
    # Two views are too few to solve, which the exit code says.
    assert run(monkeypatch, tmp_path / "kept", *source, "--views", 2, "--patience-s", 30) == 1
    feeding.join()
    said = capsys.readouterr().out.splitlines()
    taken = [line.split(";")[0] for line in said if line.startswith("view")]
    assert taken == ["view 1 taken", "view 2 taken"]
    views = zip(moments.values(), kept("visible"), kept("infrared"), strict=True)
    for (visible, counts), colour, heat in views:
        np.testing.assert_array_equal(codecs.read_visible(colour), visible)
        found = codecs.decode_infrared(heat.read_bytes())
        np.testing.assert_array_equal(found, counts)


def test_live_says_why_there_is_nothing_to_see(
    client: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told(*words: object) -> str:
        assert run(monkeypatch, tmp_path / "kept", "--patience-s", 0.3, *words) == 1
        return capsys.readouterr().err

    ours = ["--service", client.base_url, "--stream", "rig"]
    assert "send the operator's token" in told(*ours)
    ours += ["--token", TOKEN]
    assert "no pair of a stream 'rig' is kept" in told(*ours)
    send(client, "rig", visible_ns=1, infrared_ns=30_000_001)
    assert "taken 30 ms apart" in told(*ours)
    assert "parameter 'stream'" in told(*ours[:3], "two words", *ours[4:])
    assert "no address such as http://" in told("--service", "localhost:8000", "--stream", "rig")
    assert "cannot be reached" in told("--service", "http://127.0.0.1:9", "--stream", "rig")
    assert "--service with --stream" in told("--visible", "0")
    assert not (tmp_path / "kept").exists()


def test_pairs_are_handed_out_only_where_the_operator_says_so(
    serve: Any,
    stand_in_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serving: AbstractContextManager[httpx.Client] = serve(
        Settings(weights=stand_in_weights), open_runtime(stand_in_weights, threads=1)
    )
    with serving as client:
        send(client, "rig")
        assert client.get("/streams/rig/pair").json()["kind"] == "pairs_withheld"
        source = ["--service", client.base_url, "--stream", "rig"]
        assert run(monkeypatch, tmp_path / "kept", *source) == 1
        assert "SEGMIF_HAND_OUT_PAIRS=true" in capsys.readouterr().err
