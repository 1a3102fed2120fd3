"""Events of `segmif run`: a rendered scene, each kind of rule, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli

from segmif.classes import MFNET
from segmif.imaging.codecs import write_png
from segmif.thermal.camera_profile import Cameras
from service.commands.cli import main
from service.live.open_rig import check_classes, check_rig
from service.live.rig_settings import LiveSettings
from tests.conftest import HOT
from tests.service.live.test_run import ROOT, running, wait_until

HEIGHT, WIDTH, RATE = 96, 160, 10
FRAMES = 160
START_NS = 1_767_225_600_000_000_000
STEP_NS = 10**9 // RATE
ENTERS, LEAVES, FROZEN = 40, 90, 130  # numbers of frames
FLICKERS = 7  # every so many frames the person in the yard has no label
STARTS = ENTERS + 8  # half a second of presence, less the flicker
PERSON, ANIMAL, GROUND = HOT + 20, HOT - 60, 60  # levels
YARD = np.kron(np.random.default_rng(0).integers(60, 110, (12, 20), np.uint8), np.ones((8, 8)))

ZONES = """
[[rigs.zones]]
name = "yard"
polygon = [[0.5, 0.4], [1, 0.4], [1, 1], [0.5, 1]]

[[rigs.zones]]
name = "road"
units = "pixels"
polygon = [[0, 0], [79, 0], [79, 30], [0, 30]]
"""
RULES = (
    """
[[rigs.events]]
kind = "object"
name = "intruder"
classes = ["person"]
zones = ["yard"]
cooldown_s = 1

[[rigs.events]]
kind = "object"
name = "on the road"
classes = ["person"]
zones = ["road"]
""".replace("on the road", "on-the-road")
    + """
[[rigs.events]]
kind = "warm"
name = "animal"

[[rigs.events]]
kind = "temperature"
name = "hot"
above_c = 100
start_s = 0

[[rigs.events]]
kind = "fault"
name = "sensor"
"""
)


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A person who walks into the yard, stays and walks out; an animal above without a class."""
    random = np.random.default_rng(number)
    visible = YARD.astype(np.uint8)[..., None] + random.integers(
        0, 10, (HEIGHT, WIDTH, 3), np.uint8
    )
    infrared = random.integers(GROUND, GROUND + 5, (HEIGHT, WIDTH), np.uint8)
    infrared[8:20, 10 + number // 2 : 26 + number // 2] = ANIMAL
    inside = ENTERS <= number < LEAVES
    left = 100 + number % 4 if inside else 20
    if not inside or (number - ENTERS) % FLICKERS != 3:
        infrared[50:90, left : left + 14] = PERSON
    return visible, infrared


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `visible` and `infrared`; the infrared camera freezes at the end."""
    folder = tmp_path_factory.mktemp("scene")
    for part in ("visible", "infrared"):
        (folder / part).mkdir()
    for number in range(FRAMES):
        visible, _ = scene(number)
        _, infrared = scene(min(number, FROZEN))
        name = f"{START_NS + number * STEP_NS:019d}.png"
        write_png(folder / "visible" / name, visible)
        write_png(folder / "infrared" / name, infrared)
    return folder


def rig(recording: Path, more: str) -> str:
    return (
        f'[[rigs]]\nname = "gate"\nmemory = false\nvisible = "{recording}/visible"\n'
        f'infrared = "{recording}/infrared"\n{more}'
    )


def run_once(weights: Path, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "rigs.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "service", "run", "--weights", str(weights), "--once"]
    return subprocess.run(
        [*command, "--config", "rigs.toml", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def events(
    stand_in_weights: Path, recording: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The events of the scene by the name of their rule."""
    folder = tmp_path_factory.mktemp("run")
    cameras = "infrared_kelvin_per_count = 1.0\ninfrared_kelvin_at_zero = 200.0\n"
    sinks = 'sinks = ["all.jsonl"]\n'
    notify = '[[rigs.notify]]\nkind = "lines"\npath = "events.jsonl"\n'
    ended = run_once(
        stand_in_weights, folder, rig(recording, cameras + sinks + ZONES + RULES + notify)
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, list[dict[str, Any]]] = {"": lines_of(folder / "all.jsonl")}
    for event in lines_of(folder / "events.jsonl"):
        found.setdefault(event["name"], []).append(event)
    yield found


def number_of(stamp_ns: int) -> int:
    return (stamp_ns - START_NS) // STEP_NS


def test_a_rendered_intrusion_is_one_start_and_one_end(
    events: dict[str, list[dict[str, Any]]],
) -> None:
    start, end = events["intruder"]
    assert [start["phase"], end["phase"]] == ["start", "end"]
    assert start["id"] == end["id"] and len(start["id"]) == 32
    assert number_of(start["first_ns"]) == ENTERS
    assert number_of(start["stamp_ns"]) == STARTS
    assert number_of(end["last_ns"]) == LEAVES - 1
    assert number_of(end["stamp_ns"]) == LEAVES + 19  # two seconds without it
    assert start["classes"] == ["person"] and start["zone"] == "yard"
    assert end["area"] == 40 * 14 and end["box"][2:] == [14, 40]
    assert end["tracks"] and end["reason"] == "over" and end["sensors"] == ["visible", "infrared"]
    assert "on-the-road" not in events


def test_something_warm_without_a_class_that_moves_is_an_event(
    events: dict[str, list[dict[str, Any]]],
) -> None:
    start, end = events["animal"]
    assert start["phase"] == "start" and start["classes"] == []
    assert number_of(start["stamp_ns"]) < 40
    assert abs(start["box"][0] - (10 + number_of(start["last_ns"]) // 2)) <= 6
    assert end["reason"] in ("over", "stopped")


def test_that_event_is_of_an_unknown_object_in_the_reports(
    events: dict[str, list[dict[str, Any]]],
) -> None:
    start, _ = events["animal"]
    listed = [line["report"]["objects"]["unknown"] for line in events[""][:FROZEN]]
    first = next(number for number, unknown in enumerate(listed) if unknown)
    assert 2 < first < 20  # once it has moved
    for number, (unknown,) in enumerate(listed[first:], first):  # neither person is one
        assert [unknown["track"]] == start["tracks"]
        assert abs(unknown["box"][0] - (10 + number // 2)) <= 3
        assert unknown["area"] == pytest.approx(12 * 16, rel=0.25)
        assert unknown["contrast"] == pytest.approx(ANIMAL - GROUND, abs=8)
        assert unknown["speed"] == pytest.approx(RATE / 2 / WIDTH, rel=0.4)


def test_a_temperature_is_an_event_where_the_camera_states_it(
    events: dict[str, list[dict[str, Any]]],
) -> None:
    start = events["hot"][0]
    assert start["celsius"] == pytest.approx(PERSON + 200 - 273.15)
    assert number_of(start["stamp_ns"]) == 0


def test_a_sensor_that_freezes_is_an_event(events: dict[str, list[dict[str, Any]]]) -> None:
    start, end = events["sensor"]
    assert start["fault"] == "infrared_frozen" and start["flags"] == ["infrared_frozen"]
    assert number_of(start["first_ns"]) == FROZEN + 1
    assert 19 <= number_of(start["stamp_ns"]) - FROZEN - 1 <= 21
    assert end["reason"] == "stopped"  # the recording ends


def test_reports_have_the_objects_and_the_events(
    events: dict[str, list[dict[str, Any]]],
) -> None:
    line = events[""][ENTERS + 4]
    (person,) = line["report"]["objects"]["found"]
    assert person["name"] == "person" and person["area"] == 40 * 14
    assert person["box"] == [100, 50, 14, 40] and person["centroid"] == [106.5, 69.5]
    assert person["confidence"] == 1.0
    told = [event for line in events[""] for event in line["events"]]
    assert [event["phase"] for event in told if event["name"] == "intruder"] == ["start", "end"]


def test_tracks_stay_with_their_object(events: dict[str, list[dict[str, Any]]]) -> None:
    inside = events[""][ENTERS : LEAVES - 1]
    tracks = {each["track"] for line in inside for each in line["report"]["objects"]["found"]}
    assert len(tracks) == 1  # though it flickers
    before = events[""][0]["report"]["objects"]["found"][0]["track"]
    assert before not in tracks


def test_the_settings_of_the_guide_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "docs/guides/events.md").read_text(encoding="utf-8")
    (tmp_path / "webhook").write_text("secret\n")
    text = guide.partition("```toml\n")[2].partition("```")[0]
    text = text.replace("/run/secrets/webhook", str(tmp_path / "webhook"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATE_PASSWORD", "a")
    monkeypatch.setenv("BROKER_PASSWORD", "b")
    live = LiveSettings.model_validate(tomli.loads(text))
    check_rig(live.rigs[0], live, Cameras())
    check_classes(live.rigs[0], MFNET)
    assert {rule.kind for rule in live.rigs[0].events} == {
        "object",
        "warm",
        "temperature",
        "fault",
    }
    assert len(live.rigs[0].notify) == 3 and len(live.rigs[0].zones) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (RULES, "event intruder: there is no zone yard; there are none"),
        (ZONES + RULES, "event hot needs temperatures, and nothing states what the counts of"),
        (
            ZONES + RULES.replace('"person"', '"persn"'),
            "gate, event intruder: there is no class 'persn'; mfnet has unlabelled, car, person",
        ),
        (ZONES.replace("0.5, 0.4", "80, 40"), "zone yard: 80 is outside 0 to 1 (relative)"),
        (
            ZONES + '[[rigs.notify]]\nkind = "lines"\npath = "x.jsonl"\n',
            "notify needs [[rigs.events]], and there are none",
        ),
        (
            '[[rigs.events]]\nkind = "object"\nname = "a"\nmin_area = 8\n',
            "min_area 8 is below that of the rig's objects, 64",
        ),
        (
            'objects = false\n[[rigs.events]]\nkind = "object"\nname = "a"\n',
            "event a needs objects, and objects is false",
        ),
        (
            'objects = false\n[[rigs.events]]\nkind = "warm"\nname = "a"\n',
            "event a needs objects, and objects is false",
        ),
        ('[[rigs.events]]\nkind = "temperature"\nname = "a"\n', "state above_c or below_c"),
        (
            '[[rigs.notify]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1"\ntopic = "a/{zone}"\n',
            "expected no braces but {rig}",
        ),
    ],
)
def test_what_can_be_no_event_is_refused_in_a_sentence(
    more: str,
    said: str,
    stand_in_weights: Path,
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "persn" in more:
        more = "infrared_kelvin_per_count = 1.0\n" + more
    file = tmp_path / "rigs.toml"
    file.write_text(rig(recording, more), encoding="utf-8")
    words = ["run", "--weights", str(stand_in_weights), "--once", "--config", str(file)]
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_zone_outside_the_view_is_said_once(stand_in_weights: Path, tmp_path: Path) -> None:
    source = "synthetic:160x96@10,frames=3"
    cameras = f'[[rigs]]\nname = "gate"\nvisible = "{source}"\ninfrared = "{source}"\n'
    far = (
        '[[rigs.zones]]\nname = "far"\nunits = "pixels"\npolygon = [[200, 0], [300, 0], [300, 9]]\n'
    )
    rule = '[[rigs.events]]\nkind = "object"\nname = "a"\nzones = ["far", "road"]\n'
    ended = run_once(stand_in_weights, tmp_path, cameras + ZONES + far + rule)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("gate: zone far lies outside the view") == 1
    assert ended.stderr.count("state its corners within 160x96") == 1


def test_what_goes_on_at_the_end_of_recordings_ends_without_results(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    source = "synthetic:96x64@20,frames=20"
    (tmp_path / "rigs.toml").write_text(
        f'[[rigs]]\nname = "gate"\nvisible = "{source}"\ninfrared = "{source}"\n'
        '[[rigs.events]]\nkind = "object"\nname = "a"\nstart_s = 0\n'
    )
    flags = ("--config", "rigs.toml")
    with running(stand_in_weights, tmp_path / "log", *flags) as (process, client):
        wait_until(lambda: client.get("/live").json()["rigs"], process)

        def ended() -> list[str]:
            told = client.get("/live/gate").json()["events"]
            return [event["reason"] for event in told if event["phase"] == "end"]

        wait_until(ended, process)
        assert set(ended()) == {"no_results"}


def test_a_camera_that_is_lost_is_an_event_and_all_is_counted(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    """A recording plays at its pace beside a camera that does not answer."""
    text = (
        '[[rigs]]\nname = "gate"\nvisible = "synthetic:96x64@20"\n'
        'infrared = "rtsp://127.0.0.1:1/x"\n'
        '[[rigs.events]]\nkind = "fault"\nname = "sensor"\nstart_s = 1\n'
        '[[rigs.notify]]\nkind = "lines"\npath = "events.jsonl"\n'
    )
    (tmp_path / "rigs.toml").write_text(text)
    flags = ("--config", "rigs.toml")
    with running(stand_in_weights, tmp_path / "log", *flags) as (process, client):
        wait_until(lambda: client.get("/live").json()["rigs"], process)

        def started() -> bool:
            return bool(client.get("/live/gate").json()["events"])

        wait_until(started, process)
        state = client.get("/live/gate").json()
        metrics = client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    (start,) = state["events"]
    assert start["fault"] == "infrared_lost" and start["phase"] == "start"
    labels = 'event="sensor",kind="fault",phase="start",rig="gate"'
    assert f"segmif_live_events_total{{{labels}}} 1.0" in metrics
    assert 'segmif_live_event_deliveries_total{notifier="lines events.jsonl",outcome="' in metrics
    first, last = lines_of(tmp_path / "events.jsonl")
    assert last["reason"] == "stopped" and last["id"] == first["id"] == start["id"]
