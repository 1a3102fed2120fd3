"""Passwords of sources and sinks are nowhere to be found: log, answers, files, `/proc`."""

import contextlib
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import av
import httpx
import pytest
from websockets.sync.client import connect

from service.__main__ import main
from tests.service.conftest import free_port

ROOT = Path(__file__).parents[3]
LITERAL, OTHER, IN_ENVIRONMENT, IN_FILE = "S3cret", "0ther", "Umgebung/42?", "D@tei#7"
SECRETS = [LITERAL, OTHER, IN_ENVIRONMENT, IN_FILE, quote(IN_ENVIRONMENT, ""), quote(IN_FILE, "")]
GIVEN = {"LENS": IN_ENVIRONMENT, "ADDRESS": f"rtsp://u:{LITERAL}@127.0.0.1:1/x"}  # variables
SYNTHETIC = "synthetic:96x64@20"
FAILING_S = 4.0  # several tries of each source and sink


class Refusing(socketserver.StreamRequestHandler):
    """Refuses whoever asks by RTSP or HTTP."""

    def handle(self) -> None:
        words = self.rfile.readline().split()
        number = b"1"
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            number = value.strip() if name.lower() == b"cseq" else number
        protocol = words[-1] if words else b"RTSP/1.0"
        challenge = b'WWW-Authenticate: Basic realm="camera"'
        self.wfile.write(
            b"%s 401 Unauthorized\r\nCSeq: %s\r\n%s\r\nContent-Length: 0\r\n\r\n"
            % (protocol, number, challenge)
        )


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a server that knows nobody."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{IN_FILE}\n")
    return file


def sources(port: int, password_file: Path) -> list[str]:
    """Each form of a password, to a port that is closed and to a server that refuses."""
    users = [LITERAL, "${LENS}", f"${{file:{password_file}}}"]
    hosts = ["127.0.0.1:1", f"127.0.0.1:{port}"]
    found = [f"rtsp://u:{user}@{host}/x" for user in users for host in hosts]
    found += [f"http://u:{LITERAL}@127.0.0.1:{port}/x", f"http://127.0.0.1:1/x?token={LITERAL}"]
    pipeline = f"gst:rtspsrc location=rtsp://u:{LITERAL}@127.0.0.1:1/x user-pw={OTHER} ! decodebin"
    return [*found, "${ADDRESS}", pipeline]


def settings_file(folder: Path, port: int, password_file: Path) -> Path:
    """A rig for each source that fails, and one whose recordings work beside failing streams."""
    lines = []
    for number, source in enumerate(sources(port, password_file)):
        lines += ["[[rigs]]", f'name = "bad{number}"', f'visible = "{source}"']
        lines += [f'infrared = "{source}"']
    streams = [f"rtsp://u:{user}@{host}/y" for user, host in _sink_addresses(port, password_file)]
    words = [*streams, str(folder / "out" / "lines.jsonl"), str(folder / "out" / "video.mkv")]
    lines += ["[[rigs]]", 'name = "good"', f'visible = "{SYNTHETIC}"', f'infrared = "{SYNTHETIC}"']
    lines += [f"sinks = {json.dumps(words)}", *notified(folder, port, password_file)]
    file = folder / "rigs.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def notified(folder: Path, port: int, password_file: Path) -> list[str]:
    """An event, and receivers with secrets that cannot be reached, refuse, and work."""
    lines = ["[[rigs.events]]", 'kind = "object"', 'name = "any"', "start_s = 0", "end_s = 0.2"]
    lines += ["cooldown_s = 0"]
    for host in ("127.0.0.1:1", f"127.0.0.1:{port}"):
        for secret in ("${LENS}", f"${{file:{password_file}}}"):
            address = f"http://u:{OTHER}@{host}/hook/{LITERAL}?token=${{LENS}}"
            lines += ["[[rigs.notify]]", 'kind = "webhook"', f'url = "{address}"']
            lines += [f'secret = "{secret}"', "timeout_s = 1"]
            lines += ["[[rigs.notify]]", 'kind = "mqtt"', f'url = "mqtt://{host}"']
            lines += ['user = "rig"', f'password = "{secret}"', "timeout_s = 1"]
    file = folder / "out" / "events.jsonl"
    return [*lines, "[[rigs.notify]]", 'kind = "lines"', f'path = "{file}"']


def _sink_addresses(port: int, password_file: Path) -> list[tuple[str, str]]:
    hosts = ["127.0.0.1:1", f"127.0.0.1:{port}"]
    users = [OTHER, "${LENS}", f"${{file:{password_file}}}"]
    return [(user, host) for user in users for host in hosts]


@contextlib.contextmanager
def running(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", "segmif", "run", *flags, "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def environment() -> dict[str, str]:
    # asyncio says more in this mode, such as the arguments of what was slow.
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "1", **GIVEN}


def found_in(text: str | bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in _bytes(text)]


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def public_facts_of_processes(root: int) -> Iterator[tuple[str, bytes]]:
    """What `/proc` says of a process and its children to other users, and their environments."""
    waiting, ours = [root], (Path("/proc") / str(root) / "cmdline").read_bytes()
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            process = Path("/proc") / str(pid)
            for task in process.glob("task/*"):
                yield f"{task}/comm", (task / "comm").read_bytes()
                waiting += map(int, (task / "children").read_text().split())
            words = (process / "cmdline").read_bytes()
            yield f"{pid} cmdline", words
            if words != ours:  # which holds what it was given; a fork is it until it runs another
                yield f"{pid} environ", (process / "environ").read_bytes()


def answers_of(address: str, rigs: int) -> Iterator[tuple[str, bytes]]:
    """What the service says of its rigs."""
    with httpx.Client(base_url=f"http://{address}", timeout=20) as client:
        states = client.get("/live").json()["rigs"]
        assert len(states) == rigs
        for path in ("/live", "/metrics", *(f"/live/{state['name']}" for state in states)):
            yield path, client.get(path).raise_for_status().content
        failing = [state for state in states if state["name"] != "good"]
        assert all(s["error"] for state in failing for s in state["sources"].values())
        (good,) = (state for state in states if state["name"] == "good")
        streams = [sink for sink in good["sinks"] if sink["name"].startswith("stream")]
        assert streams and all(sink["error"] for sink in streams)
        *failing, lines = good["notify"]
        assert len(failing) == 8 and all(each["error"] for each in failing)
        assert lines["sent"] and good["events"]
    with connect(f"ws://{address}/live/good") as socket:
        socket.send("next")
        message = socket.recv(20)
        yield "WS /live/good", message if isinstance(message, bytes) else message.encode()


def wait_until_it_works(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None
        with contextlib.suppress(httpx.TransportError):
            states = httpx.get(f"http://{address}/live", verify=False).json()["rigs"]
            if any(state["pairs"].get("ok") for state in states):
                return
        time.sleep(0.1)
    raise AssertionError("no pair came")


def wait_until_receivers_failed(address: str) -> None:
    """Return once each receiver with a secret has failed, and the one without has an event."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        *failing, lines = httpx.get(f"http://{address}/live/good", verify=False).json()["notify"]
        if all(each["error"] for each in failing) and lines["sent"]:
            return
        time.sleep(0.2)


def test_passwords_are_nowhere(
    stand_in_weights: Path, tmp_path: Path, refusing: int, password_file: Path
) -> None:
    file = settings_file(tmp_path, refusing, password_file)
    flags = ["--weights", str(stand_in_weights), "--config", str(file), "--log", "json"]
    seen: list[tuple[str, bytes]] = []
    with running(tmp_path, *flags) as (process, address):
        wait_until_it_works(process, address)
        end = time.monotonic() + FAILING_S
        while time.monotonic() < end:  # the processes that stream come and go
            seen += public_facts_of_processes(process.pid)
            time.sleep(0.1)
        wait_until_receivers_failed(address)
        seen += answers_of(address, rigs=len(sources(0, password_file)) + 1)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
    log = (tmp_path / "log").read_bytes()
    assert log.count(b"is lost") > 5 and b"renewed" in log
    seen.append(("log", log))
    recorded = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(recorded) == 3
    seen += [(path.name, path.read_bytes()) for path in recorded]
    (video,) = (path for path in recorded if path.suffix == ".mkv")
    with av.open(str(video)) as container:
        seen.append(("metadata", json.dumps(dict(container.metadata)).encode()))
    leaks = {(place, secret) for place, text in seen for secret in found_in(text)}
    assert not leaks


def test_the_command_line_holds_the_names_of_secrets_alone(
    stand_in_weights: Path, tmp_path: Path, password_file: Path
) -> None:
    flags = ["--weights", str(stand_in_weights), "--visible", "rtsp://u:${LENS}@127.0.0.1:1/x"]
    flags += ["--infrared", f"rtsp://u:${{file:{password_file}}}@127.0.0.1:1/x"]
    with running(tmp_path, *flags, "--out", "rtsp://u:${LENS}@127.0.0.1:1/y") as (process, address):
        end = time.monotonic() + 60
        while b"infrared is lost" not in (log := (tmp_path / "log").read_bytes()):
            assert time.monotonic() < end and process.poll() is None, log
            time.sleep(0.1)
        seen = dict(public_facts_of_processes(process.pid))
        state = httpx.get(f"http://{address}/live", verify=False).content
    assert b"${LENS}" in seen[f"{process.pid} cmdline"]
    assert not [place for place, text in seen.items() if found_in(text)]
    assert not found_in(state + log)


ADDRESS, WEB = f"rtsp://u:{LITERAL}@127.0.0.1:1/x", f"http://u:{LITERAL}@127.0.0.1:1/x"


@pytest.mark.parametrize(
    "flags",
    [
        ["--visibel", ADDRESS, "--infrared", SYNTHETIC],
        ["--visible", SYNTHETIC, "--infrared", SYNTHETIC, ADDRESS],
        ["--visible", SYNTHETIC, "--infrared", SYNTHETIC, "--name", ADDRESS],
        ["--visible", SYNTHETIC, "--infrared", SYNTHETIC, "--offset-ms", ADDRESS],
        ["--visible", SYNTHETIC, "--infrared", SYNTHETIC, "--log", ADDRESS],
        ["--visible", ADDRESS.replace("rtsp", "rtps"), "--infrared", SYNTHETIC],
        ["--visible", ADDRESS, "--infrared", SYNTHETIC, "--once"],
        ["--visible", SYNTHETIC, "--infrared", SYNTHETIC, "--out", ADDRESS.replace("rtsp", "ftp")],
        ["--visible", SYNTHETIC, "--infrared", SYNTHETIC, "--out", f"{WEB}.mkv"],
    ],
)
def test_a_start_that_is_refused_shows_no_password(
    flags: list[str], refused: Callable[..., None]
) -> None:
    refused(*flags)


@pytest.mark.parametrize(
    "text",
    [
        f'[rigs]\nvisible = "{ADDRESS}"\ninfrared = "{SYNTHETIC}"',
        f'[[rigs]]\nvisibel = "{ADDRESS}"\ninfrared = "{SYNTHETIC}"',
        f'[[rigs]]\nvisible = ["{ADDRESS}"]\ninfrared = "{SYNTHETIC}"',
        f'[[rigs]]\nvisible = "{ADDRESS}\ninfrared = "{SYNTHETIC}"',
        f'visible = "{ADDRESS}"',
        f'rigs = ["{ADDRESS}"]',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\nname = "{ADDRESS}"',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\nsinks = "{ADDRESS}"',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\nrig = "{ADDRESS}"',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\nsinks = ["x{ADDRESS}"]',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\n[[rigs.sinks]]\n'
        f'kind = "stream"\nurl = "x{ADDRESS}"',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\n[[rigs.sinks]]\n'
        f'kind = "{ADDRESS}"',
        f'[[rigs]]\nvisible = "{SYNTHETIC}"\ninfrared = "{SYNTHETIC}"\n[[rigs.sinks]]\n'
        f'kind = "stream"\nurl = "{ADDRESS}"\n"{ADDRESS}" = 1',
    ],
)
def test_a_file_that_is_refused_shows_no_password(
    text: str, tmp_path: Path, refused: Callable[..., None]
) -> None:
    file = tmp_path / "rigs.toml"
    file.write_text(text, encoding="utf-8")
    refused("--config", str(file))


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """`segmif run` must refuse its flags, and say no password."""
    monkeypatch.chdir(tmp_path)
    for name, secret in GIVEN.items():
        monkeypatch.setenv(name, secret)

    def run(*flags: str) -> None:
        with pytest.raises(SystemExit) as ended:
            sys.exit(main(["run", *flags], "segmif"))
        said = "".join(capfd.readouterr())
        assert ended.value.code == 2, said
        assert "Traceback" not in said
        assert not found_in(said), said

    return run
