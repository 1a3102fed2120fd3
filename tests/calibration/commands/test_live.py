"""Views taken as they come, and the pose that is asked for next."""

import argparse
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from calibration.commands import live
from calibration.io import live_sources
from calibration.io.live_sources import latest_pairs
from calibration.report.live_page import Page
from calibration.report.pictures import BEFORE, Colour
from calibration.solver.next_view import candidates, information_gains, most_informative, next_pose
from calibration.solver.stereo import calibrate
from calibration.solver.synthetic import (
    BOARD,
    RenderedPair,
    example_rig,
    pose_of_middle,
    random_views,
    render,
    simulate_views,
)
from segmif import cli
from segmif.geometry.rig import Camera, Floats, Rig
from segmif.imaging.codecs import encode_png, read_counts
from segmif.sources.base import SourceBase
from segmif.sources.frame import SourceError, SourceFrame
from segmif.thermal.camera_profile import CameraProfile

EPOCH_S = 1_790_000_000
ASKED = "in the middle, near, its left edge turned away"  # after five views that were not near


def half_size() -> Rig:
    rig = example_rig()

    def half(camera: Camera) -> Camera:
        K = camera.K.copy()
        K[:2] /= 2
        return replace(camera, width=camera.width // 2, height=camera.height // 2, K=K)

    return replace(rig, visible=half(rig.visible), infrared=half(rig.infrared))


def shown(pose: Floats) -> RenderedPair:
    """What both cameras see of a board with its middle in `pose`."""
    return render(half_size(), BOARD, pose_of_middle(pose, BOARD), np.random.default_rng(0))


def save(folder: Path, name: str, visible: np.ndarray, infrared: np.ndarray) -> None:
    frames = {"visible": np.repeat(visible[..., None], 3, axis=2), "infrared": infrared}
    for which, frame in frames.items():
        (folder / which).mkdir(exist_ok=True)
        (folder / which / f"{name}.png").write_bytes(encode_png(frame))


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> int:
    sources = ["--visible", folder / "visible", "--infrared", folder / "infrared"]
    board = ["--board", "chessboard", "--corners", "9x6", "--square-mm", 23.1]
    words = ["--keep", folder / "kept", "--port", 0, "--patience-s", 0]
    monkeypatch.setattr(
        sys, "argv", list(map(str, ["calibration", "live", *sources, *board, *words, *more]))
    )
    return cli.run("calibration", "", {"live": live})


def test_views_are_taken_refused_and_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_words = {one.words: one.pose for one in candidates(half_size(), BOARD)}
    middle = [pose for words, pose in by_words.items() if "middle distance" in words]
    tilted = [pose for pose in middle if pose[:3].any()]
    poses = [tilted[at] for at in np.linspace(0, len(tilted) - 1, 5).astype(int)]
    poses.append(by_words[ASKED])
    frames = [shown(pose) for pose in poses]
    for index, moment in enumerate(frames):
        save(tmp_path, f"{EPOCH_S + 10 * index}", moment.visible, moment.infrared)
    save(tmp_path, f"{EPOCH_S + 60}", frames[2].visible, frames[2].infrared)
    rolled = [np.roll(each, 5, axis=1) for each in (frames[2].visible, frames[2].infrared)]
    save(tmp_path, f"{EPOCH_S + 60}.2", *rolled)
    dark = np.zeros_like(frames[0].visible)
    save(tmp_path, f"{EPOCH_S + 70}", dark, frames[0].infrared)

    pages: list[tuple[Colour, list[str]]] = []
    monkeypatch.setattr(Page, "show", lambda self, *shown: pages.append(shown))
    searches: list[int] = []

    def search(kept: int, *of: Any) -> str:
        searches.append(kept)
        return next_pose(kept, *of)

    monkeypatch.setattr(live, "next_pose", search)
    assert run(monkeypatch, tmp_path) == 0
    assert searches == [0, 1, 2, 3, 4, 5, 6]  # once for each view, not for each pair
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("show the board in the middle, facing")
    assert [line.split(";")[0] for line in said[1:7]] == [f"view {n} taken" for n in range(1, 7)]
    assert "4 more before a first solution; next at the upper left" in said[1]
    asked = [line.rpartition("next ")[2] for line in said[1:7]]
    assert len(set(asked[:5])) == 5
    assert asked[4] == ASKED
    assert asked[5] != ASKED  # it has been shown
    assert "baseline" in said[6]
    assert "rotation +/-" in said[6]
    assert "views are needed" in said[6]
    assert said[7] == "not taken: a view like an earlier one"
    assert said[8].startswith("not taken: the board moves (5.")
    assert said[9] == "not taken: visible: the frame is uniform (0 to 0)"
    shares = [sum(map(int, re.findall(r"(\d+) %", text[2]))) for _, text in pages]
    dots = [int((picture == BEFORE).all(axis=-1).sum()) for picture, _ in pages]
    for covered in (shares, dots):
        assert covered[0] == 0
        assert covered[1:6] == sorted(covered[1:6])
        assert covered[5] > 2 * covered[1]
    for which in ("visible", "infrared"):
        names = sorted(path.stem for path in (tmp_path / "kept" / which).iterdir())
        assert names == [f"{(EPOCH_S + 10 * at) * 10**9}" for at in range(6)]


class Stepped(SourceBase):
    """A live camera that gives the next frame once the last pair was shown on the page."""

    live = True

    def __init__(self, frames: list[SourceFrame], pages: list[Any]) -> None:
        super().__init__("stepped")
        self.given, self.pages = frames, pages

    def frames(self) -> Iterator[SourceFrame]:
        for number, frame in enumerate(self.given):
            while len(self.pages) < number:
                time.sleep(0.005)
            yield frame


def test_a_live_board_is_taken_only_where_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cameras of 1.4 frames a second: the board is elsewhere three times, then rests."""
    by_words = [one.pose for one in candidates(half_size(), BOARD) if "middle dist" in one.words]
    places = [shown(by_words[at]) for at in (0, 4, 8)]
    pairs = [*places, places[2]]
    stamps = [EPOCH_S * 10**9 + number * 700_000_000 for number in range(4)]
    pages: list[Any] = []
    monkeypatch.setattr(Page, "show", lambda self, *shown: pages.append(shown))

    def camera(spec: str, part: str, options: object) -> Stepped:
        frames = [
            np.repeat(pair.visible[..., None], 3, axis=2) if part == "visible" else pair.infrared
            for pair in pairs
        ]
        return Stepped([SourceFrame(f, at) for f, at in zip(frames, stamps, strict=True)], pages)

    monkeypatch.setattr(live_sources, "open_source", camera)
    assert run(monkeypatch, tmp_path) == 1  # one view makes no rig
    said = capsys.readouterr().out.splitlines()[1:]
    assert said[0] == "not taken: the board was not seen before: hold it still"
    assert said[1:3] == ["not taken: the board was elsewhere 0.7 s before: hold it still"] * 2
    assert said[3].startswith("view 1 taken")


def test_views_of_two_rigs_do_not_come_into_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, str(EPOCH_S), np.zeros((48, 64), np.uint8), np.zeros((24, 32), np.uint16))
    (tmp_path / "kept").mkdir()
    save(tmp_path / "kept", "1", np.zeros((48, 64), np.uint8), np.zeros((24, 32), np.uint16))
    assert run(monkeypatch, tmp_path) == 1
    said = capsys.readouterr()
    assert "visible is not empty: name a new folder" in said.err and not said.out


def test_views_are_not_kept_among_the_frames_they_are_taken_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, str(EPOCH_S), np.zeros((48, 64), np.uint8), np.zeros((24, 32), np.uint16))
    assert run(monkeypatch, tmp_path, "--keep", str(tmp_path)) == 1
    assert "would replace the input" in capsys.readouterr().err
    (tmp_path / "visible" / "loop.png").symlink_to("loop.png")  # no frame, and no end of the check
    assert run(monkeypatch, tmp_path, "--keep", str(tmp_path / "visible")) == 1
    assert "name another output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the service cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", "the answer breaks off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "expected multipart/mixed"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: attachment; name="visible"\r\n\r\n1\r\n'
            b'--b\r\nContent-Disposition: attachment; name="infrared"\r\n\r\n1\r\n'
            b'--b\r\nContent-Disposition: attachment; name="meta"\r\n\r\n[7]\r\n--b--\r\n',
            "the pair states no times: [7]",
        ),
    ],
)
def test_what_is_no_service_is_said(
    answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            wire, _ = server.accept()
            with wire:
                wire.recv(65_536)
                wire.sendall(answer)

        Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        words = ["--service", url, "--stream", "rig", "--patience-s", "5", "--port", "0"]
        board = ["--corners", "9x6", "--square-mm", "23.1", "--keep", "kept"]
        monkeypatch.setattr(sys, "argv", ["calibration", "live", *words, *board])
        assert cli.run("calibration", "", {"live": live}) == 1
    assert said in capsys.readouterr().err


def test_frames_are_looked_at_as_stated_and_kept_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_words = {one.words: one.pose for one in candidates(half_size(), BOARD)}
    moment = shown(by_words[ASKED])
    telemetry = np.random.default_rng(0).integers(0, 65_536, (2, moment.infrared.shape[1]))
    came = np.vstack([moment.infrared, telemetry]).astype(np.uint16).byteswap()
    save(tmp_path, str(EPOCH_S), moment.visible, came)
    assert run(monkeypatch, tmp_path) == 1
    assert "changed places" in capsys.readouterr().err
    stated = ["--infrared-crop=0,0,0,2", "--infrared-byte-order=swapped"]
    assert run(monkeypatch, tmp_path, *stated) == 1  # one view makes no rig
    assert "view 1 taken" in capsys.readouterr().out
    kept = read_counts(
        tmp_path / "kept" / "infrared" / f"{EPOCH_S * 10**9}.png",
        CameraProfile(byte_order="native"),
    )
    np.testing.assert_array_equal(kept, came)
    with pytest.raises(ValueError, match="the service applies its own settings"):
        live.source(parsed("--service", "http://127.0.0.1:1", "--stream", "rig", *stated))


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    live.add_arguments(parser)
    board = ["--board", "chessboard", "--corners", "9x6", "--square-mm", "23.1"]
    return parser.parse_args([*words, *board, "--keep", "kept"])


def test_asked_for_poses_tell_more_than_chance() -> None:
    rig, random = example_rig(), np.random.default_rng(1)
    start = random_views(rig, BOARD, 5, 0.2, random)
    solution = calibrate(start, BOARD, ((1280, 960), (640, 480)))
    by_chance = [pose[:6] for pose in solution.bundle.poses]
    best = most_informative(solution, BOARD)[0]
    asked = information_gains(solution, [best.pose])[0]
    assert asked > information_gains(solution, by_chance).max()


@pytest.mark.parametrize(("covered", "missing"), [("upper", "lower"), ("lower", "upper")])
def test_boards_are_asked_for_where_none_has_been(covered: str, missing: str) -> None:
    rig, random = example_rig(), np.random.default_rng(1)
    there = [one.pose for one in candidates(rig, BOARD) if covered in one.words]
    places = [pose_of_middle(there[at], BOARD) for at in random.permutation(len(there))[:8]]
    sizes = ((1280, 960), (640, 480))
    solution = calibrate(simulate_views(rig, BOARD, places, 0.2, random), BOARD, sizes)
    words = " ".join(one.words for one in most_informative(solution, BOARD, 4))
    assert missing in words
    assert covered not in words.partition(missing)[0]


class Paced(SourceBase):
    """A camera whose frames come with a pause before each."""

    live = True

    def __init__(self, stamps_ms: list[int], pause_s: float) -> None:
        super().__init__("paced")
        self.stamps_ms, self.pause_s = stamps_ms, pause_s

    def frames(self) -> Iterator[SourceFrame]:
        for at in self.stamps_ms:
            time.sleep(self.pause_s)
            yield SourceFrame(np.full((2, 2), at, np.uint16), at * 10**6)


def test_the_freshest_pair_is_given() -> None:
    stamps = list(range(0, 400, 40))
    pairs = latest_pairs(Paced(stamps, 0.01), Paced([at + 3 for at in stamps], 0.01), 20 * 10**6)
    given = [next(pairs)]
    time.sleep(0.3)  # what comes now is passed over, but for the newest
    given += pairs
    assert [at // 10**6 for at, _, _ in given][-1] == 360
    assert len(given) < 10
    for stamp_ns, visible, infrared in given:
        assert visible[0, 0] == stamp_ns // 10**6
        assert infrared[0, 0] - visible[0, 0] == 3


def test_a_source_that_fails_ends_the_stream() -> None:
    class Broken(Paced):
        def frames(self) -> Iterator[SourceFrame]:
            raise SourceError("the cable is out")

    with pytest.raises(SourceError, match="cable"):
        list(latest_pairs(Broken([], 0), Paced([1, 2], 0), 1))


def test_sources_that_do_not_meet_say_so() -> None:
    with pytest.raises(ValueError, match="no frames within 20 ms"):
        list(latest_pairs(Paced([1000, 1040], 0), Paced([1, 41], 0), 20 * 10**6))


def test_the_page_shows_the_newest() -> None:
    with Page(0) as silent:
        silent.show(np.zeros((4, 4, 3), np.uint8), ["nobody reads this"])
    with Page(18_010) as page:
        page.show(np.zeros((4, 4, 3), np.uint8), ["hold <still>"])
        with urlopen("http://127.0.0.1:18010") as answer:
            body = answer.read().decode()
            assert answer.headers["Refresh"]
    assert "<p>hold &lt;still&gt;</p>" in body
    assert "data:image/jpeg;base64," in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:18012", "192.168.1.5", "[2001::1]"])
def test_the_page_is_for_this_machine(host: str) -> None:
    with Page(18_012) as page:
        page.show(np.zeros((4, 4, 3), np.uint8), ["the board"])
        for local in ("localhost:18012", "127.0.0.1", "[::1]:18012"):
            with urlopen(Request("http://127.0.0.1:18012", headers={"Host": local})) as answer:
                assert b"the board" in answer.read()
        with pytest.raises(HTTPError) as refused:
            urlopen(Request("http://127.0.0.1:18012", headers={"Host": host}))
        with refused.value as answer:
            assert answer.code == 403
            assert b"the board" not in answer.read()


def test_connections_to_the_page_are_few_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.report.live_page.PATIENCE_S", 0.5)
    with Page(18_014), ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", 18_014), timeout=10))
            for _ in range(40)
        ]
        with urlopen("http://127.0.0.1:18014") as answer:
            assert answer.read() == b"waiting for frames"
        assert [wire.recv(1) for wire in idle] == [b""] * 40
