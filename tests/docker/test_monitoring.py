"""The dashboard's queries, by a real Prometheus that scrapes the service with a rig, under load."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.service.conftest import free_port

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "service" / "web" / "samples" / "glare"
DASHBOARD = ROOT / "docker" / "grafana" / "segmif.json"
TOKEN = {"Authorization": "Bearer secret"}
PATIENCE_S = 60  # of a busy machine, until a panel has something to show
RIGS = """
[[rigs]]
name = "gate"
visible = "synthetic:96x64@10"
infrared = "synthetic:96x64@10"
[[rigs.sinks]]
kind = "jsonl"
path = "{folder}/lines.jsonl"
[[rigs.events]]
kind = "object"
name = "intruder"
[[rigs.notify]]
kind = "lines"
path = "{folder}/events/"
"""
SENSORS = "Heat and power"  # the one panel that this machine may have nothing for


@contextmanager
def running(*command: str, ready: str, **variables: str) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if httpx.get(ready).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None, f"{command[0]} ended"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prometheus that has seen a loaded service."""
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("prometheus is not installed: make servers")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    (folder / "token").write_text("secret")
    job["authorization"]["credentials_file"] = str(folder / "token")
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    config["global"]["scrape_interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "rigs.toml").write_text(RIGS.format(folder=folder))
    here = f"127.0.0.1:{free_port()}"
    service = running(
        *(sys.executable, "docker/start.py", "run"),
        *("--config", str(folder / "rigs.toml")),
        ready=f"http://127.0.0.1:{port}/readyz",
        PYTHONPATH=str(ROOT),
        SEGMIF_TOKEN="secret",
        SEGMIF_PORT=str(port),
    )
    scraper = running(
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={here}",
        ready=f"http://{here}/-/ready",
    )
    with service, scraper:
        end = time.monotonic() + PATIENCE_S
        while empty_panels(f"http://{here}") and time.monotonic() < end:
            load(f"http://127.0.0.1:{port}")
        yield f"http://{here}"


def load(address: str) -> None:
    """Ask well and badly."""
    files = {part: (SAMPLE / f"{part}.png").read_bytes() for part in ("visible", "infrared")}
    dark = files | {"meta": (None, '{"visible_ns": 0, "infrared_ns": 900000000}')}
    broken = files | {"infrared": b"no picture"}
    with httpx.Client(base_url=address, timeout=30) as client:
        assert client.post("/fuse-segment", files=files, headers=TOKEN).status_code == 200
        assert client.post("/fuse-segment", files=dark, headers=TOKEN).status_code == 200
        assert client.post("/fuse-segment", files=broken, headers=TOKEN).status_code >= 400
        assert client.post("/fuse-segment", files=files).status_code == 401


def panels() -> list[dict[str, Any]]:
    shown = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in shown if panel["type"] != "row"]


def test_every_number_of_rigs_has_its_panel(prometheus: str) -> None:
    answer = httpx.get(f"{prometheus}/api/v1/metadata").json()["data"]
    names = {name for name in answer if name.startswith("segmif_live_")}
    counted = {name.removesuffix("_total") for name in names if not name.endswith("_created")}
    queries = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert len(counted) >= 9
    assert not [name for name in counted if name not in queries]


def test_no_panel_is_empty(prometheus: str) -> None:
    assert not empty_panels(prometheus)


def empty_panels(prometheus: str) -> list[str]:
    """The titles of those for which Prometheus has nothing."""
    empty = []
    with httpx.Client(base_url=prometheus) as client:
        for panel in panels():
            found = [shown(client, target["expr"]) for target in panel["targets"]]
            if not any(found) and panel["title"] != SENSORS:
                empty.append(panel["title"])
    return empty


def shown(client: httpx.Client, expression: str) -> bool:
    query = re.sub(r"\$__rate_interval", "15s", expression)
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    return any(series["value"][1] != "NaN" for series in answer["data"]["result"])
