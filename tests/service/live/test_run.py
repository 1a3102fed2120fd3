"""`segmif run` by its entry points: the command, `GET /live`, `WS /live/{rig}`, metrics."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from segmif.imaging import codecs
from segmif.imaging.codecs import write_png
from segmif.manifest import Manifest
from service.__main__ import main
from service.live.open_rig import check_rig
from service.live.rig_settings import LiveSettings, RigSettings
from tests.service.conftest import free_port

ROOT = Path(__file__).parents[3]
SEGMIF = Subprotocol("segmif")
PATIENCE_S = 60  # with a busy machine; what hangs takes longer
VISIBLE, INFRARED = "synthetic:96x64@20", "synthetic:96x64@20"


@contextmanager
def running(
    weights: Path, log: Path, *flags: str, token: str | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    command = [sys.executable, "-m", "service", "run", "--weights", str(weights), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | (
        {"SEGMIF_TOKEN": token} if token else {}
    )
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=log.parent, env=environment, stderr=errors
        )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S, verify=False) as client:
        try:
            wait_until(lambda: answers(client), process)
            yield process, client
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def socket_url(client: httpx.Client, rig: str) -> str:
    return f"ws://127.0.0.1:{client.base_url.port}/live/{rig}"


def wait_until(
    condition: Any, process: subprocess.Popen[bytes], limit_s: float = PATIENCE_S
) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.05)


def parts_of(message: str | bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    assert isinstance(message, bytes)
    (length,) = struct.unpack("<I", message[:4])
    header = json.loads(message[4 : 4 + length])
    at, parts = 4 + length, {}
    for part in header["parts"]:
        parts[part["name"]] = message[at : at + part["bytes"]]
        at += part["bytes"]
    assert at == len(message)
    return header, parts


def done(client: httpx.Client, rig: str) -> int:
    rigs = {each["name"]: each["pairs"].get("ok", 0) for each in client.get("/live").json()["rigs"]}
    return int(rigs.get(rig, 0))


def ask(socket: ClientConnection, text: str = "next") -> tuple[dict[str, Any], dict[str, bytes]]:
    socket.send(text)
    return parts_of(socket.recv(PATIENCE_S))


def test_two_cameras_become_pictures_numbers_and_counters(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    flags = "--visible", VISIBLE, "--infrared", INFRARED, "--name", "front"
    with running(stand_in_weights, tmp_path / "log", *flags) as (process, client):
        wait_until(lambda: done(client, "front"), process)
        (early,) = client.get("/live").json()["rigs"]
        wait_until(lambda: done(client, "front") > 20, process)
        with connect(socket_url(client, "front")) as socket:
            seen = [ask(socket) for _ in range(5)]
            _, fused = ask(socket, "next fused")
            again, both = ask(socket, "next fused mask")
            socket.send("next heat")
            with pytest.raises(ConnectionClosed, match=r"send the text 'next'.*fused"):
                socket.recv(10)
        (state,) = client.get("/live").json()["rigs"]
        metrics = client.get("/metrics").text
    sequences = [header["sequence"] for header, _ in seen]
    assert sequences == sorted(set(sequences))
    header, parts = seen[-1]
    mask = np.frombuffer(zlib.decompress(parts["mask"]), np.uint8).reshape(64, 96)
    counts = np.frombuffer(zlib.decompress(parts["counts"]), "<u2").reshape(64, 96)
    assert counts[mask > 0].min() > counts[mask == 0].min()  # the stand-in marks what is hot
    assert header["report"]["pair"]["skew_ms"] == 0
    assert {"visible", "infrared", "fused", "mask", "counts"} <= parts.keys()
    assert [set(each) for each in (fused, both)] == [{"fused"}, {"fused", "mask"}]
    assert again["shape"] == again["view"] == [64, 96]
    assert state["sources"]["visible"]["state"] == "connected"
    # Cameras do not begin at one time, and skip frames on a busy machine: no partner comes then.
    begun, missed = early["sources"]["infrared"]["unpaired"], state["sources"]["visible"]["dropped"]
    assert state["sources"]["infrared"]["unpaired"] <= begun + missed + 1
    assert 'segmif_live_pairs_total{outcome="ok",rig="front"}' in metrics
    assert process.returncode == -signal.SIGTERM  # drained; the signal is raised again


def test_a_viewer_needs_the_token_and_a_rig_that_there_is(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    flags, token = ("--visible", VISIBLE, "--infrared", INFRARED), "näh-secret?"
    coded = urlsafe_b64encode(token.encode()).decode().rstrip("=")
    with running(stand_in_weights, tmp_path / "log", *flags, token="secret-1") as (
        process,
        client,
    ):
        wait_until(lambda: done(client, "rig"), process)
        offered = urlsafe_b64encode(b"secret-1").decode().rstrip("=")
        url = socket_url(client, "rig")
        with connect(url, subprotocols=[SEGMIF, Subprotocol(f"segmif.token.{offered}")]) as socket:
            assert socket.subprotocol == SEGMIF
            ask(socket)
        for protocols in ([SEGMIF], [SEGMIF, Subprotocol(f"segmif.token.{coded}")]):
            with pytest.raises(InvalidStatus) as refused:
                connect(url, subprotocols=protocols)
            assert refused.value.response.status_code == 401
        missing = client.get("/live/other")
    assert missing.status_code == 404
    assert "only rig" in missing.json()["detail"]
    assert "secret-1" not in (tmp_path / "log").read_text()


def test_recordings_are_processed_once_and_whole(stand_in_weights: Path, tmp_path: Path) -> None:
    flags = [
        *(
            "--visible",
            "synthetic:96x64@20,frames=60",
            "--infrared",
            "synthetic:96x64@20,frames=60",
        ),
        *("--once", "--out", str(tmp_path / "lines.jsonl"), "--port", str(free_port())),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "service", "run", "--weights", str(stand_in_weights), *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert len(lines) == 60


@pytest.mark.parametrize(
    ("word", "what"),
    [("--max-rate", "max_rate"), ("--alone-after", "alone_after_s"), ("--speed", "speed")],
)
def test_what_once_does_not_heed_is_refused(
    stand_in_weights: Path, capsys: pytest.CaptureFixture[str], word: str, what: str
) -> None:
    rig = ["--visible", "synthetic:96x64@20,frames=5", "--infrared", "synthetic:96x64@20,frames=5"]
    command = ["run", "--weights", str(stand_in_weights), "--once", *rig, word, "2"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{what} has no effect with --once, which takes every pair" in said


@pytest.mark.parametrize("live", ["visible", "infrared"])
def test_cameras_do_not_begin_at_one_moment(live: str) -> None:
    """One that comes a minute late would be paired with pictures a minute old."""
    sources = {"visible": "synthetic:96x64@20,frames=5", "infrared": "synthetic:96x64@20,frames=5"}
    sources[live] = "rtsp://127.0.0.1:9/x"
    rig = RigSettings.model_validate({"name": "a", "offset_ms": "start", **sources})
    with pytest.raises(ValueError, match=f"start is for recordings, and {live} rtsp:.* is live"):
        check_rig(rig, LiveSettings(rigs=(rig,)))


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        (0, "one recording has times of day, the other counts from 0: state --offset-ms start"),
        (10**18 - 10**13, "no pairs: the newest infrared frame is stamped 10000000.0 ms after"),
    ],
)
def test_recordings_that_never_pair_fail_and_say_why(
    stand_in_weights: Path, tmp_path: Path, begins: int, said: str
) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    for folder, first in ((early, begins), (late, 10**18)):
        folder.mkdir()
        for number in range(3):
            name = f"{first + number * 10**8:019d}.png"
            write_png(folder / name, np.full((64, 96), 9 * number, np.uint8))
    ended = run_once(stand_in_weights, tmp_path, "--visible", str(early), "--infrared", str(late))
    assert ended.returncode == 1
    assert said in ended.stderr


def test_what_a_recording_lost_is_counted_and_a_damaged_file_fails(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    for part, frames in (("visible", 40), ("infrared", 6)):
        (tmp_path / part).mkdir()
        for number in range(frames):
            picture = np.random.default_rng(number).integers(0, 256, (64, 96), np.uint8)
            write_png(tmp_path / part / f"{number}.png", picture)
    (tmp_path / "infrared" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ended = run_once(stand_in_weights, tmp_path, "--visible", "visible", "--infrared", "infrared")
    assert ended.returncode == 1, ended.stderr
    assert "5 ok" in ended.stderr
    assert "without a partner: 35 visible; infrared: 1 damaged" in ended.stderr


def test_a_recording_that_is_there_is_not_replaced_and_nothing_starts(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.mkv").write_bytes(b"precious")
    recording = "synthetic:96x64@20,frames=5"
    ended = run_once(
        stand_in_weights,
        tmp_path,
        *("--visible", recording, "--infrared", recording, "--out", str(tmp_path / "out.mkv")),
    )
    assert ended.returncode == 2
    assert "out.mkv exists" in ended.stderr
    assert (tmp_path / "out.mkv").read_bytes() == b"precious"


def run_once(weights: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "run", "--weights", str(weights), "--once", *flags]
    return subprocess.run(
        [*command, "--port", str(free_port())],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_rig_has_its_tint_and_the_flag_is_for_the_others(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    rig = '[[rigs]]\nname = "{0}"\nvisible = "{1}"\ninfrared = "{1}"\nsinks = ["{0}.jsonl"]\n'
    source = "synthetic:96x64@9,frames=3"
    text = rig.format("a", source) + "tint = 0.25\n" + rig.format("b", source)
    (tmp_path / "rigs.toml").write_text(text)
    ended = run_once(stand_in_weights, tmp_path, "--config", "rigs.toml", "--tint", "0")
    assert ended.returncode == 0, ended.stderr
    for name, tint in (("a", 0.25), ("b", 0)):
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        assert {json.loads(line)["report"]["tint"] for line in lines} == {tint}


def test_clocks_differ_and_rates_too(stand_in_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "visible").mkdir()
    for number in range(20):
        stamp_ns = 1_700_000_000_000_000_000 + number * 100_000_000
        codecs.write_png(
            tmp_path / "visible" / f"{stamp_ns}.png", np.full((64, 96, 3), 99, np.uint8)
        )
    flags = [
        *("--visible", "visible", "--infrared", "synthetic:96x64@9,frames=18", "--once"),
        *("--offset-ms", "start", "--out", "lines.jsonl", "--port", str(free_port())),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "service", "run", "--weights", str(stand_in_weights), *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    pairs = [line["report"]["pair"] for line in lines]
    assert len(pairs) > 14 and pairs[0]["skew_ms"] == 0
    assert max(abs(pair["skew_ms"]) for pair in pairs) > 20  # beyond the limit of a request
    assert not any("skewed" in pair["flags"] for pair in pairs)


def test_a_reload_changes_the_rigs(stand_in_weights: Path, tmp_path: Path) -> None:
    file, rig = tmp_path / "rigs.toml", '[[rigs]]\nname = "{}"\nvisible = "{}"\ninfrared = "{}"\n'
    file.write_text(rig.format("a", VISIBLE, INFRARED) + rig.format("b", VISIBLE, INFRARED))
    with running(stand_in_weights, tmp_path / "log", "--config", str(file)) as (
        process,
        client,
    ):
        wait_until(lambda: len(client.get("/live").json()["rigs"]) == 2, process)
        wait_until(lambda: done(client, "b") > 5, process)
        before = done(client, "b")
        file.write_text(rig.format("b", VISIBLE, INFRARED) + rig.format("c", VISIBLE, INFRARED))
        process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: [r["name"] for r in client.get("/live").json()["rigs"]] == ["b", "c"], process
        )
        assert done(client, "b") >= before  # went on
        file.write_text(rig.format("b", VISIBLE, "there is none.mp4"))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the rigs stay as they were" in (tmp_path / "log").read_text(), process)
        assert [r["name"] for r in client.get("/live").json()["rigs"]] == ["b", "c"]


def test_other_cameras_under_a_name_begin_without_what_the_last_ones_left_behind(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    file, log, after = tmp_path / "rigs.toml", tmp_path / "log", tmp_path / "after.jsonl"
    rig = '[[rigs]]\nvisible = "{0}"\ninfrared = "{0}"\nsinks = ["{1}"]\nmemory = true\n'
    file.write_text(rig.format(VISIBLE, "before.jsonl"))
    with running(stand_in_weights, log, "--config", str(file)) as (process, client):
        wait_until(lambda: done(client, "rig") > 5, process)
        file.write_text(rig.format("synthetic:96x64@9", after.name))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "renewed; weights are" in log.read_text(), process)
        wait_until(lambda: done(client, "rig") > 1, process)
    used = [json.loads(line)["report"]["memory"] for line in after.read_text().splitlines()]
    assert used[0]["reset"] == "start"


KELVIN = "infrared_kelvin_per_count = 0.01\n"
NEEDS = f"""
[[rigs]]
visible = "{VISIBLE}"
infrared = "{INFRARED}"
[[rigs.events]]
name = "intruder"
kind = "object"
classes = ["person"]
[[rigs.events]]
name = "hot"
kind = "temperature"
above_c = 100
"""


@pytest.mark.parametrize(
    ("network", "cameras", "said"),
    [
        ("pst900", KELVIN, "rig, event intruder: there is no class 'person'"),
        ("mfnet", "", "event hot needs temperatures, and nothing states what the counts of"),
    ],
)
@pytest.mark.parametrize("rigs", [NEEDS, NEEDS.replace(INFRARED, "there is none.mp4")])
def test_a_network_or_cameras_that_do_not_suffice_for_a_rig_are_not_taken_up(
    network: str, cameras: str, said: str, rigs: str, stand_in_weights: Path, tmp_path: Path
) -> None:
    weights, config = tmp_path / "net.onnx", tmp_path / "rigs.toml"
    weights.write_bytes(stand_in_weights.read_bytes())
    manifest = Manifest.read(stand_in_weights)
    manifest.write(weights)
    config.write_text(KELVIN + NEEDS)
    with running(weights, tmp_path / "log", "--config", str(config)) as (process, client):
        wait_until(lambda: done(client, "rig"), process)
        replace(manifest, taxonomy=network).write(weights)
        config.write_text(cameras + rigs)
        process.send_signal(signal.SIGHUP)
        log = tmp_path / "log"
        wait_until(lambda: "nothing is renewed, all stays as it was" in log.read_text(), process)
        assert said in log.read_text()
        before = done(client, "rig")
        wait_until(lambda: done(client, "rig") > before, process)
        manifest.write(weights)
        config.write_text(KELVIN + NEEDS)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "renewed; weights are" in log.read_text(), process)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((), "segmif run needs two sources"),
        (("--visible", "synthetic"), "segmif run needs two sources"),
        (("--visible", "nothing.mp4", "--infrared", "synthetic"), "nothing.mp4"),
        (
            ("--visible", "synthetic", "--infrared", "synthetic", "--name", "a b"),
            "--name: expected 1 to 64 letters, digits, _, . or -, got 'a b'",
        ),
        (
            ("--visible", "synthetic", "--infrared", "synthetic", "--rig", "no.yaml"),
            "\nno.yaml: No such file or directory\n",
        ),
        (("--visible", "sample:dusk", "--infrared", "sample:dusk"), "day, glare, night"),
        (("--visible", "synthetic", "--infrared", "synthetic", "--out", "x.exe"), "x.exe"),
        (
            ("--visible", "own.mkv", "--infrared", "synthetic", "--out", "./own.mkv"),
            "own.mkv would replace the input own.mkv",
        ),
    ],
)
def test_what_cannot_be_a_rig_is_refused_in_a_sentence(
    flags: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.mkv").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["run", *flags]) == 2
    said = f"\n{capfd.readouterr().err}"
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ('sink = ["a.mkv"]', "rigs.0.sink: no setting of a rig; is sinks meant?"),
        ('sinks = [{kind = "jsonl", file = "a"}]', "rigs.0.sinks.0.jsonl.file: no setting of this"),
        ('sinks = [{kind = "ros2", namespace = "my /arm"}]', "expected a namespace such as /rob"),
    ],
)
def test_what_a_table_of_a_rig_cannot_hold_is_named(
    stated: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "segmif.toml"
    file.write_text(f'[[rigs]]\nvisible = "synthetic"\ninfrared = "synthetic"\n{stated}\n')
    assert main(["run", "--config", str(file)]) == 2
    assert said in capfd.readouterr().err


def test_serving_says_that_it_reads_no_rigs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "segmif.toml"
    file.write_text('[[rigs]]\nvisible = "synthetic"\ninfrared = "synthetic"\n')
    flags = ["--config", str(file), "--weights", str(tmp_path / "none.onnx")]  # so it ends
    assert main(["serve", *flags]) == 2
    assert "lists rigs, which `segmif serve` does not read" in capfd.readouterr().err


LINES = """
[[rigs.events]]
name = "noisy"
kind = "fault"
[[rigs.notify]]
kind = "lines"
path = "{}/day.jsonl"
"""


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ('sinks = ["{}/"]', "write pictures to one folder"),
        ('sinks = ["collect:{}"]', "write pictures to one folder"),
        ('sinks = ["{}/day.mkv"]', "record to one file"),
        ('sinks = ["{}/day.jsonl"]', "record to one file"),
        (LINES, "record to one file"),
        ('sinks = ["udp://127.0.0.1:9"]', "send to one address, udp://127.0.0.1:9"),
        ('sinks = ["ros2:/robot"]', "publish one topic of ROS 2, /robot/fused: name another"),
    ],
)
def test_two_rigs_do_not_write_to_one_folder_of_pictures_or_one_file(
    stated: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "same").symlink_to("out")
    (tmp_path / "frames").mkdir()  # of one moment: a run that is not refused ends
    write_png(tmp_path / "frames" / "1.png", np.zeros((64, 96), np.uint8))
    rigs = (
        f'[[rigs]]\nname = "{name}"\nvisible = "{tmp_path}/frames"\n'
        f'infrared = "{tmp_path}/frames"\n{stated.format(tmp_path / folder)}\n'
        for name, folder in (("north", "out"), ("south", "same"))
    )
    (tmp_path / "segmif.toml").write_text("".join(rigs))
    assert main(["run", "--once", "--config", str(tmp_path / "segmif.toml")]) == 2
    assert f"north and south {said}" in capfd.readouterr().err


def test_topics_of_ros_are_one_sinks_alone() -> None:
    """By their names in the network of ROS, which names of rigs become."""

    def rigs(sinks: Mapping[str, Sequence[object]]) -> dict[str, object]:
        both = {"visible": "synthetic", "infrared": "synthetic"}
        return {"rigs": [{"name": name, "sinks": each, **both} for name, each in sinks.items()]}

    raw = {"kind": "ros2", "topics": ["fused", "transform"]}
    with pytest.raises(
        ValidationError, match=r"a\.b and a-b publish one topic of ROS 2, /a_b/fused"
    ):
        LiveSettings.model_validate(rigs({"a.b": [raw], "a-b": [raw]}))
    with pytest.raises(ValidationError, match="two of a publish one topic of ROS 2, /a/fused"):
        LiveSettings.model_validate(rigs({"a": [raw, {**raw, "namespace": "/a"}]}))
    LiveSettings.model_validate(rigs({"a": [raw, {**raw, "images": "jpeg"}], "b": [raw]}))


def test_frames_of_ros_are_one_rigs_alone() -> None:
    """Topics may differ by their namespaces: /tf_static has both cameras of one name."""

    def rigs(*names: str) -> dict[str, object]:
        sources = {"visible": "synthetic", "infrared": "synthetic"}
        sinks = [
            {"kind": "ros2", "topics": ["transform"], "namespace": f"/{number}"}
            for number in ("one", "two")
        ]
        return {"rigs": [{"name": name, "sinks": sinks, **sources} for name in names]}

    with pytest.raises(ValidationError, match=r"a\.b and a-b give .* in ROS 2, a_b_visible: state"):
        LiveSettings.model_validate(rigs("a.b", "a-b"))
    LiveSettings.model_validate(rigs("a.b", "a.c"))


def test_events_and_pairs_of_a_rig_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    rig = {
        **{"name": "front", "visible": "synthetic", "infrared": "synthetic"},
        **{"sinks": [str(path)], "events": [{"name": "noisy", "kind": "fault"}]},
        "notify": [{"kind": "lines", "path": str(path)}],
    }
    with pytest.raises(ValidationError, match="two of front record to one file"):
        LiveSettings.model_validate({"rigs": [rig]})
    apart = {**rig, "sinks": [str(tmp_path / "pairs.jsonl"), f"collect:{tmp_path}", f"{tmp_path}/"]}
    LiveSettings.model_validate({"rigs": [apart]})
