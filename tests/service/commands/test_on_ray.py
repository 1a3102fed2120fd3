"""Many networks on Ray: the same answers as by one, whoever is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from segmif.imaging import codecs
from segmif.local_host import is_loopback
from segmif.runtime import open_runtime
from service.__main__ import main
from service.settings import Settings
from tests.service.conftest import free_port, serving

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[3]
PAIRS = 200
FRONT = "service.commands.on_ray.front:middlewares"
CLUSTER = """
import ray, sys
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[dict[str, str]]:
    """The environment of a command that joins a cluster of two cores."""
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",  # as Ray starts a cluster of its own
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": FRONT,
        "SEGMIF_MAX_BODY_BYTES": "1000000",
    }
    command = [sys.executable, "-c", CLUSTER]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as cluster:
        assert cluster.stdout and cluster.stdin
        yield environment | {"RAY_ADDRESS": cluster.stdout.readline().strip()}
        cluster.stdin.close()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small pairs, one of which is damaged."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    for name, channels in (("visible", (3,)), ("infrared", ())):
        (folder / name).mkdir()
        for place in range(PAIRS):
            pixels = rng.integers(0, 256, (32, 48, *channels), np.uint8)
            codecs.write_png(folder / name / f"{place:03d}.png", pixels)
    (folder / "infrared" / "150.png").write_bytes(b"no image")
    return folder


def rows(frames: Path, out: Path) -> Path:
    """A list of two folders and of two recordings."""
    moving = "synthetic:64x48@10,frames=30"
    lines = [
        "visible,infrared,out",
        f"{frames / 'visible'},{frames / 'infrared'},{out / 'pictures'}",
        f'"{moving}","{moving}",{out / "fused.mp4"}',
    ]
    out.mkdir()
    (out / "rows.csv").write_text("\n".join(lines))
    return out / "rows.csv"


def lines_of(report: Path) -> list[dict[str, Any]]:
    """The lines of a report, without times."""
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    for line in lines:
        if line["report"]:
            del line["report"]["times_ms"]
    return lines


def test_recordings_are_what_one_process_makes_though_it_is_killed(
    frames: Path, stand_in_weights: Path, machine: dict[str, str], tmp_path: Path
) -> None:
    fixed = [f"--weights={stand_in_weights}", "--threads=1"]
    alone, many = tmp_path / "alone", tmp_path / "many"
    assert main(["infer", f"--list={rows(frames, alone)}", *fixed]) == 1  # a pair is damaged
    words = ["infer", "--ray", f"--list={rows(frames, many)}", *fixed]
    command = [sys.executable, "-m", "service", *words]
    report = many / "pictures" / "report.jsonl"
    with subprocess.Popen(command, env=machine, cwd=ROOT) as killed:
        while not (report.exists() and report.read_bytes().count(b"\n") >= 16):
            assert killed.poll() is None
            time.sleep(0.002)
        killed.kill()
    assert report.read_bytes().count(b"\n") < PAIRS
    done = subprocess.run(command, env=machine, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert re.search(r"\d+ pairs by an earlier run, and \d+ pairs in", done.stdout)
    assert "150: infrared: the 8 bytes are not an image" in done.stderr
    assert lines_of(report) == lines_of(alone / "pictures" / "report.jsonl")
    for path in alone.rglob("*.png"):
        assert path.read_bytes() == (many / path.relative_to(alone)).read_bytes()
    assert len(list(many.rglob("*.png"))) == 2 * (PAIRS - 1)
    assert (many / "fused.mp4").read_bytes() == (alone / "fused.mp4").read_bytes()


def replicas() -> list[int]:
    """The processes of replicas."""
    named = {
        int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")
    }
    return [pid for pid, name in named.items() if name.startswith(b"ray::ServeReplica:segmif")]


def test_two_replicas_answer_as_one_process_does_and_one_may_die(
    frames: Path, stand_in_weights: Path, machine: dict[str, str]
) -> None:
    port = free_port()
    words = ["serve", "--ray", "--replicas=2", f"--port={port}", f"--weights={stand_in_weights}"]
    command = [sys.executable, "-m", "service", *words]
    bodies = [
        {
            name: (frames / name / f"{place:03d}.png").read_bytes()
            for name in ("visible", "infrared")
        }
        for place in range(60)
    ]
    with serving(Settings(weights=stand_in_weights), open_runtime(stand_in_weights)) as single:
        expected = [asked(single, body).content for body in bodies]
    pipes: Any = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=machine, cwd=ROOT, **pipes) as replicated:
        try:
            assert replicated.stderr
            assert any("answers at" in line for line in replicated.stderr)
            with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as client:
                refused = client.post("/fuse-segment", content=bytes(2_000_000))
                assert (refused.status_code, refused.json()["kind"]) == (413, "body_too_large")
                ask_while_one_dies(client, bodies, expected)
        finally:
            replicated.terminate()
            replicated.communicate(timeout=120)
    assert replicated.returncode == 0


def ask_while_one_dies(
    client: httpx.Client, bodies: list[dict[str, bytes]], expected: list[bytes]
) -> None:
    """Every pair is answered as expected, or refused with the time to try again."""
    first, _ = replicas()
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(asked, client, body) for body in bodies]
        answers[10].result()
        os.kill(first, signal.SIGKILL)
        for answer, content in zip(answers, expected, strict=True):
            given = answer.result()
            if given.status_code == 503:
                assert int(given.headers["Retry-After"]) > 0
            else:
                assert (given.status_code, given.content) == (200, content)


def asked(client: httpx.Client, body: dict[str, bytes]) -> httpx.Response:
    """Ask for the fused picture of a pair."""
    return client.post("/fuse-segment", files=body, headers={"Accept": "image/png"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray itself
def test_the_file_for_a_cluster_is_one_that_ray_takes() -> None:
    from ray.serve.schema import ServeDeploySchema

    content = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    (application,) = ServeDeploySchema.model_validate(content).applications
    module, _, name = application.import_path.partition(":")
    assert (ROOT / f"{module.removeprefix('segmif.').replace('.', '/')}.py").is_file()
    (deployment,) = application.deployments
    stated = Settings(**application.args, open_to_all=True)
    assert deployment.ray_actor_options.num_cpus == stated.threads
    assert not is_loopback(stated.host)
    from service.commands.on_ray import serve

    assert callable(getattr(serve, name)) and deployment.name == serve.NAME
