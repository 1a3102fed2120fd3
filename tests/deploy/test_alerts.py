"""The alert rules, by Prometheus' own tool, and held to what the program counts."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from segmif.runtime import open_runtime
from service.api.problems import PROBLEM_TYPES
from service.app import create_app
from service.errors import EngineFailed, OutOfMemory, ServiceError
from service.live.live_metrics import LiveMetrics
from service.pipeline.pair_checks import SENSORS
from service.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES, TESTS = FOLDER / "alerts.yml", FOLDER / "alerts.test.yml"
FOREIGN = {"up", "probe_ssl_earliest_cert_expiry"}  # of Prometheus and its blackbox exporter
SENSORS_OF_MACHINE = {"segmif_temperature_celsius"}  # only where there are some


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def promtool(*words: str) -> str:
    program = shutil.which("promtool")
    if not program:
        pytest.skip("promtool is not installed: make servers")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(TESTS))


def test_every_alert_is_tried() -> None:
    tried = {
        case["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert tried == {rule["alert"] for rule in rules()}


def test_alerts_ask_for_what_the_program_counts(stand_in_weights: Path) -> None:
    app = create_app(Settings(weights=stand_in_weights), open_runtime(stand_in_weights, threads=1))
    registry = CollectorRegistry()
    LiveMetrics(registry)
    text = app.state.dispatcher.metrics.text() + generate_latest(registry)
    counted = set(re.findall(r"^# TYPE (\w+)", text.decode(), re.MULTILINE))
    asked = {
        name
        for rule in rules()
        for name in re.findall(r"\b(up|probe_\w+|segmif_\w+)\b", rule["expr"])
        if name != "segmif"
    }
    assert asked - counted == FOREIGN | SENSORS_OF_MACHINE
    app.state.dispatcher.runtime.close()


def test_outcomes_and_flags_are_those_that_there_are() -> None:
    text = RULES.read_text()
    kinds = {error.kind for error in PROBLEM_TYPES} | {"ok"}
    for outcomes in re.findall(r'outcome=~?"([\w|]+)"', text):
        assert set(outcomes.split("|")) <= kinds
    (live,) = re.findall(r'live_pairs_total\{outcome=~"([\w|]+)"', text)
    assert set(live.split("|")) == {
        error.kind for error in (EngineFailed, OutOfMemory, ServiceError)
    }
    for pattern in re.findall(r'flag=~"(.+?)"', text):
        assert all(re.fullmatch(pattern, f"{sensor}_frozen") for sensor in SENSORS)
        assert not re.fullmatch(pattern, "infrared_shutter")
