"""`segmif infer` from recordings to recordings, through its command."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mcap.reader import make_reader
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from segmif.geometry.cameras import Camera, Rig
from segmif.geometry.rig import write_rig
from segmif.imaging import codecs
from service.__main__ import main
from service.live.live_result import LiveResult
from service.live.sinks.image_folder import ImageFolder
from tests.service.conftest import hear_ctrl_c
from tests.service.live.test_ros_topics import COUNT as BAG_COUNT
from tests.service.live.test_ros_topics import (
    PERIOD_NS,
    START_NS,
    check_results,
    read_bag,
    rig_file,
    stamp_of,
    write_bag,
)

ROOT = Path(__file__).parents[3]
SHAPE, COUNT, RATE = (48, 64), 90, 25
CENTRE = np.array([[0.0, 0, 32], [0, 0, 24], [0, 0, 0]])
STAMPS = [n * 10**9 // RATE for n in range(COUNT)]
Pictures = list[NDArray[Any]]
Infer = Callable[..., int]


def write_video(
    path: Path,
    pictures: Iterable[NDArray[Any]],
    codec: str,
    *formats: str,
    shape: tuple[int, int] = SHAPE,
) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = shape
        stream.pix_fmt = formats[1]
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format=formats[0])))
        container.mux(stream.encode())


def counts(number: int) -> NDArray[np.uint16]:
    """A scene that moves, with a gain that changes."""
    rows, columns = np.indices(SHAPE)
    scene = 7000 + 40 * ((columns + number) % 50) + 3 * rows + 200 * (number // 30)
    return scene.astype(np.uint16)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """visible.mp4 (H.264), infrared.mkv (8 bit) and counts.mkv (16 bit) of one scene."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (*SHAPE, 3), np.uint8)
    write_video(
        folder / "visible.mp4",
        (np.roll(colours, n, axis=1) for n in range(COUNT)),
        "libx264",
        "rgb24",
        "yuv420p",
    )
    levels = [((counts(n) - 7000) // 10).astype(np.uint8) for n in range(COUNT)]
    write_video(folder / "infrared.mkv", levels, "ffv1", "gray", "gray")
    deep = map(counts, range(COUNT))
    write_video(folder / "counts.mkv", deep, "ffv1", "gray16le", "gray16le")
    return folder


def command(weights: Path, out: Path, visible: object, infrared: object, *flags: str) -> list[str]:
    named = [f"--visible={visible}", f"--infrared={infrared}", f"--out={out}"]
    return ["infer", *named, f"--weights={weights}", "--threads=1", *flags]


@pytest.fixture
def infer(stand_in_weights: Path, videos: Path) -> Infer:
    """Run the command on the videos, or on others."""

    def run(out: Path, *flags: str, visible: object = "", infrared: object = "") -> int:
        first, second = visible or videos / "visible.mp4", infrared or videos / "counts.mkv"
        return main(command(stand_in_weights, out, first, second, *flags))

    return run


def lines_of(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def objects_of(report: Path) -> list[dict[str, Any]]:
    return [line["report"]["objects"] for line in lines_of(report)]


def pictures_of(video: Path) -> tuple[list[int], Pictures]:
    """Stamps [ns] of a video, and its pictures as RGB."""
    with av.open(str(video)) as container:
        frames: list[Any] = list(container.decode(video=0))
    stamps = [round(frame.pts * frame.time_base * 10**9) for frame in frames]
    return stamps, [frame.to_ndarray(format="rgb24") for frame in frames]


def messages_of(bag: Path) -> dict[str, list[tuple[int, bytes]]]:
    found: dict[str, list[tuple[int, bytes]]] = {}
    with bag.open("rb") as file:
        for _, channel, message in make_reader(file).iter_messages():
            if channel.topic != "/rig/report":  # which has times
                found.setdefault(channel.topic, []).append((message.log_time, message.data))
    return found


def to_pictures(videos: Path, out: Path, infrared: str, names: Iterable[str]) -> dict[str, Path]:
    """Write the frames of two videos, as PyAV decodes them, to two folders of PNG files."""
    formats = {"visible.mp4": "rgb24", "infrared.mkv": "gray", "counts.mkv": "gray16le"}
    folders = {"visible": out / "visible", "infrared": out / "infrared"}
    for folder, video in zip(folders.values(), ("visible.mp4", infrared), strict=True):
        folder.mkdir()
        with av.open(str(videos / video)) as container:
            for name, frame in zip(names, container.decode(video=0), strict=True):
                pixels: Any = frame.to_ndarray(format=formats[video])
                codecs.write_png(folder / f"{name}.png", pixels)
    return folders


def test_pictures_are_those_that_folders_give(infer: Infer, videos: Path, tmp_path: Path) -> None:
    names = [f"{n:03d}" for n in range(COUNT)]
    folders = to_pictures(videos, tmp_path, "infrared.mkv", names)
    assert infer(tmp_path / "pictures", **folders) == 0
    assert infer(tmp_path / "fused.mkv", "--codec=ffv1", infrared=videos / "infrared.mkv") == 0
    stamps, pictures = pictures_of(tmp_path / "fused.mkv")
    assert stamps == STAMPS
    for name, picture in zip(names, pictures, strict=True):
        fused = codecs.read_visible(tmp_path / "pictures" / "fused" / f"{name}.png")
        np.testing.assert_array_equal(picture, fused)


def test_counts_are_those_of_a_recording_in_folders(
    infer: Infer, videos: Path, tmp_path: Path
) -> None:
    names = [f"{stamp_ns:019d}" for stamp_ns in STAMPS]
    folders = to_pictures(videos, tmp_path, "counts.mkv", names)
    assert infer(tmp_path / "pictures", "--recording", **folders) == 0
    assert infer(tmp_path / "frames", "--frames", "--picture=overlay") == 0
    assert len(list((tmp_path / "frames" / "overlay").iterdir())) == COUNT
    for folder in ("fused", "mask"):
        for name in names:
            file = Path(folder, f"{name}.png")
            expected = (tmp_path / "pictures" / file).read_bytes()
            assert (tmp_path / "frames" / file).read_bytes() == expected
    given, expected_lines = (
        [line["report"]["gain"] for line in lines_of(tmp_path / out / "report.jsonl")]
        for out in ("frames", "pictures")
    )
    assert [line | {"smoothing": 0} for line in given] == expected_lines


@pytest.mark.parametrize("picture", ["overlay", "mosaic"])
def test_every_pair_is_in_the_video_and_in_the_report(
    infer: Infer, tmp_path: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(tmp_path / "out", f"--picture={picture}", "--tolerance-ms=1") == 0
    assert f"{COUNT} pairs in" in capsys.readouterr().out
    stamps, pictures = pictures_of(tmp_path / "out" / f"{picture}.mkv")
    height, width = SHAPE
    twice = 2 if picture == "mosaic" else 1
    assert {shown.shape for shown in pictures} == {(twice * height, twice * width, 3)}
    lines = lines_of(tmp_path / "out" / "report.jsonl")
    assert [line["visible"]["stamp_ns"] for line in lines] == stamps
    assert {line["status"] for line in lines} == {"done"}
    assert lines[3]["infrared"]["name"] == "3" and lines[3]["report"]["gain"]["smoothing"] > 0


KILLED = """
import os, signal, sys
from service.__main__ import main
from service.commands.infer_report import ReportFile
left, write = int(sys.argv.pop(1)), ReportFile.write
def counted(report, line):
    global left
    write(report, line)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
ReportFile.write = counted
main()
"""


def killed(arguments: list[str], after: int) -> None:
    """Run the command in a process that is killed once it has written so many lines."""
    words = [sys.executable, "-c", KILLED, str(after), *arguments]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


@pytest.mark.parametrize(
    ("name", "flags", "moments"),
    [
        ("out.mp4", ["--picture=overlay"], (1, 60)),
        ("out.mkv", ["--picture=overlay", "--codec=ffv1"], (40, 30)),
        ("out.mcap", ["--objects"], (60,)),
    ],
)
def test_a_killed_run_goes_on_and_gives_the_same(
    infer: Infer,
    stand_in_weights: Path,
    videos: Path,
    tmp_path: Path,
    name: str,
    flags: list[str],
    moments: tuple[int, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out, report = tmp_path / "whole" / name, tmp_path / name, tmp_path / "out.report.jsonl"
    assert infer(whole, *flags) == 0
    both = videos / "visible.mp4", videos / "counts.mkv"
    for after in moments:
        killed(command(stand_in_weights, out, *both, *flags), after)
        assert not out.exists()
    if name == "out.mp4":  # cut off within the head of a fragment
        part = tmp_path / "out.part.mp4"
        part.write_bytes(part.read_bytes().rpartition(b"moof")[0] + b"moof" + bytes(9))
    assert infer(out, *flags) == 0
    said = capsys.readouterr().out
    found = re.search(r"(\d+) pairs by an earlier run, and (\d+) pairs in", said)
    assert found and int(found[1]) >= 25 and int(found[1]) + int(found[2]) == COUNT
    if name.endswith(".mcap"):
        assert messages_of(out) == messages_of(whole)
        objects = objects_of(report)
        assert objects == objects_of(whole.with_name("out.report.jsonl"))
        assert any(each["found"] for each in objects)
    else:
        stamps, pictures = pictures_of(out)
        expected = pictures_of(whole)
        assert stamps == expected[0]
        np.testing.assert_array_equal(pictures, expected[1])
    stamps_of = [line["visible"]["stamp_ns"] for line in lines_of(report)]
    assert stamps_of == STAMPS
    assert not list(tmp_path.glob("*.part.*")) and not list(tmp_path.glob("*.next.*"))
    assert infer(out, *flags) == 0
    assert f"{COUNT} pairs, all by an earlier run" in capsys.readouterr().out


def test_a_bag_with_a_rig_is_read_by_others(infer: Infer, tmp_path: Path) -> None:
    lens = Camera(SHAPE[1], SHAPE[0], np.diag([60.0, 60.0, 1.0]) + CENTRE, np.zeros(5))
    T = np.eye(4)
    T[0, 3] = 0.001
    write_rig(tmp_path / "rig.yaml", Rig(lens, lens, T))
    flags = f"--rig={tmp_path / 'rig.yaml'}", "--infrared-bits=14"
    assert infer(tmp_path / "out.mcap", *flags) == 0
    with AnyReader([tmp_path / "out.mcap"]) as reader:
        topics = {one.topic for one in reader.connections}
        assert {"/rig/visible/camera_info", "/rig/infrared/camera_info"} <= topics
        wanted = {"/rig/mask": 0, "/rig/infrared": 0}
        for connection, stamp_ns, data in reader.messages(
            [one for one in reader.connections if one.topic in wanted]
        ):
            message: Any = reader.deserialize(data, connection.msgtype)
            number = wanted[connection.topic]
            wanted[connection.topic] += 1
            assert stamp_ns == STAMPS[number]
            if connection.topic == "/rig/infrared":
                pixels = message.data.view("<u2").reshape(SHAPE)
                np.testing.assert_array_equal(pixels, counts(number))
            else:
                assert set(np.unique(message.data)) == {0, 2}
    assert set(wanted.values()) == {COUNT}


def test_from_bag_to_bag(stand_in_weights: Path, tmp_path: Path) -> None:
    bag, rig, out = write_bag(tmp_path / "in", 90), rig_file(tmp_path), tmp_path / "out.mcap"
    topics = f"{bag}:/rgb/image_raw", f"{bag}:/thermal/image_raw"
    words = command(stand_in_weights, out, *topics, f"--rig={rig}", "--objects")
    assert main(words) == 0
    found, offered = read_bag(out)
    check_results(found, "/rig")
    assert {topic for topic, qos in offered.items() if qos and qos[0].durability.value == 1} == {
        "/rig/label_info",
        "/tf_static",
    }
    for topic in ("fused", "mask", "detections", "camera_info"):
        messages = found[f"/rig/{topic}"]
        stamps = [START_NS + number * PERIOD_NS for number in range(BAG_COUNT)]
        assert [stamp_of(each) for each in messages] == stamps
        assert {each.header.frame_id for each in messages} == {"rgb_optical"}
    assert not any(
        line["report"]["pair"]["flags"] for line in lines_of(tmp_path / "out.report.jsonl")
    )
    with out.open("rb") as file:  # the definitions stand in the file, for who has none
        summary = make_reader(file).get_summary()
    schemas = summary.schemas.values() if summary else ()
    definitions = {each.name: each.data.decode() for each in schemas}
    assert "MSG: vision_msgs/VisionClass" in definitions["vision_msgs/msg/LabelInfo"]
    # Without a rig the intrinsics are those that the bag states; the frames are of another lens.
    other = write_bag(tmp_path / "other", 99)
    topics = f"{other}:/rgb/image_raw", f"{other}:/thermal/image_raw"
    assert main(command(stand_in_weights, tmp_path / "bare.mcap", *topics)) == 0
    bare, _ = read_bag(tmp_path / "bare.mcap")
    assert (bare["/rig/camera_info"][0].k[0], bare["/rig/infrared/camera_info"][0].k[0]) == (90, 99)
    assert "/tf_static" not in bare
    flagged = command(stand_in_weights, tmp_path / "none.mcap", *topics, f"--rig={rig}")
    assert main([*flagged, "--degraded=refuse"]) == 1
    reasons = {line["detail"] for line in lines_of(tmp_path / "none.report.jsonl")}
    assert all("infrared_calibration" in reason for reason in reasons)


def test_a_run_that_changed_is_named_and_can_start_anew(
    infer: Infer, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mkv"
    assert infer(out) == 0
    assert infer(out, "--picture=overlay", "--offset-ms=2", infrared=videos / "infrared.mkv") == 2
    said = capsys.readouterr().err
    for words in (
        "infrared source was .*counts.mkv, is .*infrared.mkv",
        "picture was fused, is overlay",
        "offset_ms was 0.0, is 2.0",
        "--overwrite",
    ):
        assert re.search(words, said), words
    before = out.read_bytes()
    assert infer(out, "--picture=overlay", "--overwrite") == 0
    assert out.read_bytes() != before
    (tmp_path / "out.run.json").unlink()
    assert infer(out) == 2
    assert "no record of its run: --overwrite starts anew" in capsys.readouterr().err


def test_an_output_that_is_damaged_by_now_is_not_taken_for_done(
    infer: Infer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run was complete; then pictures were cut off, as by a loss of power, or the video was."""
    synthetic = {
        "visible": "synthetic:64x48@10,frames=6",
        "infrared": "synthetic:64x48@10,frames=6",
    }
    folder, video = tmp_path / "pictures", tmp_path / "out.mkv"
    assert infer(folder, "--frames", **synthetic) == 0
    whole = {path: path.read_bytes() for path in folder.rglob("*.png")}
    third, fourth = sorted(whole)[2:4]
    third.write_bytes(b"")
    fourth.write_bytes(whole[fourth][:-4])
    sorted(whole)[-1].unlink()
    (folder / "mask" / "of a former run.png").write_bytes(b"")
    assert infer(folder, "--frames", **synthetic) == 0
    assert {path: path.read_bytes() for path in whole} == whole
    said = capsys.readouterr().out
    assert "1 pictures in" in said and "(mask/of a former run.png): delete them" in said
    assert infer(video, **synthetic) == infer(video, **synthetic) == 0
    video.write_bytes(video.read_bytes()[:-1])
    assert infer(video, **synthetic) == 2
    assert "is not what its run wrote: it had" in capsys.readouterr().err


def test_a_run_that_did_nothing_keeps_nothing(
    infer: Infer, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.MKV"
    assert infer(out, "--offset-ms=1e10") == 1
    assert "the other counts from 0: state --offset-ms start" in capsys.readouterr().err
    assert infer(out) == 0
    assert f"written: {tmp_path / 'out.mkv'}" in capsys.readouterr().out
    own = tmp_path / "own.mp4"
    own.write_bytes((videos / "visible.mp4").read_bytes())
    assert infer(tmp_path / "b.mkv", visible=own) == 0
    os.utime(own, (1, 1))
    assert infer(tmp_path / "b.mkv", visible=own) == 2
    assert f"visible {own} has changed since" in capsys.readouterr().err


def test_one_recording_as_both_sources_is_said(
    infer: Infer, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"visible": videos / "infrared.mkv", "infrared": videos / "infrared.mkv"}
    assert infer(tmp_path / "out.mkv", **both) == 0
    said = capsys.readouterr()
    assert f"both sources are {videos / 'infrared.mkv'}" in said.err
    assert f"{COUNT} pairs have a grey visible frame" in said.out
    assert infer(tmp_path / "colour.mkv") == 0
    said = capsys.readouterr()
    assert "both sources" not in said.err and "grey" not in said.out


def test_an_interrupted_run_says_what_is_kept(
    stand_in_weights: Path, videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    endless = "synthetic:64x48@25,frames=100000"
    words = command(stand_in_weights, out, endless, endless)
    report = tmp_path / "out.report.jsonl"
    until = time.monotonic() + 60
    with subprocess.Popen(
        [sys.executable, "-m", "service", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    ) as running:
        while not (report.exists() and report.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.search(r"^[1-9]\d* pairs are kept: the same command goes on$", said, re.MULTILINE)


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_no_input_is_written_over(
    infer: Infer,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
) -> None:
    whole = (videos / "visible.mp4").read_bytes()
    for name in ("visible.mp4", "out.part.mkv", "frames/v.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(whole)
    visible = tmp_path / "visible.mp4"
    (tmp_path / "link.mp4").symlink_to(visible)
    (tmp_path / "hard.mp4").hardlink_to(visible)
    (tmp_path / "hard.report.jsonl").hardlink_to(visible)
    for out in ("visible.mp4", "link.mp4", "hard.mp4", "hard.mkv"):
        assert infer(tmp_path / out, *flags, visible=visible) == 2
        assert "would replace the input" in capsys.readouterr().err
    assert infer(tmp_path / "out.mkv", *flags, visible=tmp_path / "out.part.mkv") == 2
    assert infer(tmp_path / "frames" / "out.mkv", *flags, visible=tmp_path / "frames") == 2
    assert "would lie among the frames of the input" in capsys.readouterr().err
    for name in ("visible.mp4", "out.part.mkv", "frames/v.mp4"):
        assert (tmp_path / name).read_bytes() == whole


def test_refused_pairs_are_gaps_in_the_stamps(
    infer: Infer, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = [counts(n) if n not in (0, 40) else np.zeros(SHAPE, np.uint16) for n in range(COUNT)]
    infrared = tmp_path / "dark.mkv"
    write_video(infrared, dark, "ffv1", "gray16le", "gray16le")
    assert infer(tmp_path / "out.mp4", "--degraded=refuse", infrared=infrared) == 1
    assert "2 refused" in capsys.readouterr().out
    stamps, _ = pictures_of(tmp_path / "out.mp4")
    missing = 39 * 10**9 // RATE  # stamps of a video begin at its first picture
    assert len(stamps) == COUNT - 2 and missing not in stamps
    refused = [x for x in lines_of(tmp_path / "out.report.jsonl") if x["status"] == "refused"]
    assert [line["visible"]["name"] for line in refused] == ["0", "40"]
    assert "infrared_black" in refused[0]["detail"]
    assert infer(tmp_path / "out.mp4", "--degraded=refuse", infrared=infrared) == 1
    assert "2 refused" in capsys.readouterr().out


def test_a_full_disk_ends_a_run_that_goes_on_later(
    infer: Infer,
    stand_in_weights: Path,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert infer(tmp_path / "whole.mkv", "--codec=ffv1") == 0
    half = (tmp_path / "whole.mkv").stat().st_size // 2
    out = tmp_path / "out.mkv"
    both = videos / "visible.mp4", videos / "counts.mkv"
    code = (
        "import resource, sys; from service.__main__ import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({half}, {half})); sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *command(stand_in_weights, out, *both, "--codec=ffv1")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "out.mkv cannot be written (File too large): make room" in ended.stderr
    assert not out.exists()
    assert infer(out, "--codec=ffv1") == 0
    assert re.search(r"^[1-9]\d* pairs by an earlier run", capsys.readouterr().out, re.MULTILINE)
    np.testing.assert_array_equal(pictures_of(out)[1], pictures_of(tmp_path / "whole.mkv")[1])


def test_pictures_that_a_failed_run_leaves_are_on_the_disk(
    infer: Infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = tmp_path / "out" / "fused"
    synced: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: synced.extend(path.name for path in fused.iterdir()))
    written, results = ImageFolder.write, []

    def fail_at_the_second(sink: ImageFolder, result: LiveResult) -> None:
        results.append(result)
        if len(results) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written(sink, result)

    monkeypatch.setattr(ImageFolder, "write", fail_at_the_second)
    assert infer(tmp_path / "out", "--frames") == 2
    assert synced == [f"{0:019d}.png"]


def test_a_recording_that_breaks_off_is_said(
    infer: Infer, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (videos / "counts.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert infer(tmp_path / "out.mkv", infrared=tmp_path / "cut.mkv") == 0
    said = capsys.readouterr().out
    assert "visible goes on after the other camera's end: not read further" in said
    stamps, _ = pictures_of(tmp_path / "out.mkv")
    assert 10 < len(stamps) < COUNT and f"{len(stamps)} pairs in" in said


def test_many_recordings_and_a_bad_one(
    infer: Infer,
    stand_in_weights: Path,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.mkv").write_bytes(b"no video")
    rows = [(tmp_path / "broken.mkv", "a.mkv"), (videos / "counts.mkv", "b.mkv")]
    listed = tmp_path / "list.csv"
    listed.write_text(
        "visible,infrared,out\n"
        + "".join(f"{videos / 'visible.mp4'},{one},{tmp_path / out}\n" for one, out in rows)
    )
    flags = [f"--list={listed}", f"--weights={stand_in_weights}", "--threads=1"]
    assert main(["infer", *flags]) == 1
    said = capsys.readouterr()
    assert "1 of 2 recordings are whole" in said.out and f"{COUNT} pairs in" in said.out
    assert "broken.mkv" in said.err
    made = {"b.mkv", "b.report.jsonl", "b.run.json"}
    assert {path.name for path in tmp_path.glob("[ab].*")} == made


@pytest.mark.parametrize("other", ["a.mkv", "b/../a.mkv", "a.mp4", "a.MKV"])
def test_two_recordings_of_a_list_have_two_outputs_and_reports(
    stand_in_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    listed, source = tmp_path / "list.csv", '"synthetic:64x48,frames=2"'
    rows = [f"{source},{source},{tmp_path / out}\n" for out in ("a.mkv", other)]
    listed.write_text("visible,infrared,out\n" + "".join(rows))
    flags = [f"--list={listed}", f"--weights={stand_in_weights}", "--overwrite"]
    assert main(["infer", *flags]) == 2
    assert "is the output of two recordings: name another" in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("offset", ["start", "-1700000000000"])
def test_a_folder_pairs_with_a_video_whose_clock_differs(
    infer: Infer, videos: Path, tmp_path: Path, offset: str
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(0, 10, 2):
        stamp_ns = 1_700_000_000 * 10**9 + STAMPS[number]
        codecs.write_png(folder / f"{stamp_ns}.png", counts(number))
    assert infer(tmp_path / "out.mkv", f"--offset-ms={offset}", infrared=folder) == 0
    lines = lines_of(tmp_path / "out.report.jsonl")
    assert [line["visible"]["stamp_ns"] for line in lines] == STAMPS[:10:2]
    assert {line["report"]["pair"]["skew_ms"] for line in lines} == {0}
    (folder / f"{1_700_000_000 * 10**9 + STAMPS[4]}.png").write_bytes(b"damaged")
    assert infer(tmp_path / "less.mkv", f"--offset-ms={offset}", infrared=folder) == 1
    *whole, damaged = lines_of(tmp_path / "less.report.jsonl")
    assert [line["visible"]["stamp_ns"] for line in whole] == [*STAMPS[:4:2], *STAMPS[6:10:2]]
    assert damaged["status"] == "failed" and damaged["visible"] is None
    assert damaged["detail"] == "infrared: 1 packets or frames are damaged"
    assert infer(tmp_path / "less.mkv", f"--offset-ms={offset}", infrared=folder) == 1


def test_the_offset_of_the_clocks_is_found_by_motion(
    infer: Infer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    moves = np.cumsum(rng.integers(0, 4, 320) * (rng.random(320) < 0.3))
    scene = np.kron(rng.integers(60, 200, (12, 16), np.uint8), np.ones((4, 4), np.uint8))
    frames = [np.roll(scene, move, axis=1) for move in moves]
    write_video(tmp_path / "v.mkv", [np.dstack([x] * 3) for x in frames], "ffv1", "rgb24", "bgr0")
    write_video(tmp_path / "i.mkv", frames[10:], "ffv1", "gray", "gray")
    both = {"visible": tmp_path / "v.mkv", "infrared": tmp_path / "i.mkv"}
    assert infer(tmp_path / "out.mkv", "--offset-ms=motion", **both) == 0
    assert "found offset_ms = 400" in capsys.readouterr().out
    first = lines_of(tmp_path / "out.report.jsonl")[0]
    assert (first["visible"]["name"], first["infrared"]["name"]) == ("10", "0")


def test_two_processes_do_not_write_one_output(
    infer: Infer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "out.report.jsonl").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert infer(tmp_path / "out.mkv") == 2
    assert "another process writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--visible=synthetic"], "is live and has no end.*`segmif run` reads what is live"),
        (["--recording"], "--recording is for two folders"),
        (["--codec=ffv1", "--out=x.mp4"], "MP4 cannot hold ffv1"),
        (["--codec=none"], "no working encoder 'none'"),
        (["--out=x.AVI"], r"x\.AVI: expected FILE\.mp4, FILE\.mkv, FILE\.mcap or a folder"),
        (["--frames", "--out=x.mp4"], r"--frames writes to a folder, and x\.mp4 names a file"),
        (["--frames", "--quality=20"], "--quality is for a video, and out becomes none"),
        (["--out=missing/x/y.mkv"], "the folder missing/x cannot be made .*name another output"),
        (["--visible=sound.wav"], "sound.wav has sound but no video"),
        (["--frames", "--picture=mosaic"], "mosaic is for a video"),
        (["--visible=synthetic:64x48,frames=2", "--offset-ms=1e6"], "no pairs: the nearest infr"),
        (["--list=x.csv"], "--list names all recordings: leave out --visible"),
        (["--refine", "--registration"], "refine and registration both correct what pairs show"),
        (["--out="], "segmif infer needs --visible, --infrared and --out, or --list"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    infer: Infer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing").touch()
    with wave.open("sound.wav", "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    assert infer(Path("out"), *flags) == (1 if "no pairs" in sentence else 2)
    assert re.search(sentence, capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.mkv"))


def test_what_moves_and_has_no_class_is_listed_if_the_operator_asks(
    infer: Infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, rng = (112, 160), np.random.default_rng(1)
    ground = np.kron(rng.integers(40, 90, (14, 20), np.uint8), np.ones((8, 8), np.uint8))
    colours, heat = [np.repeat(ground[..., None], 3, axis=2)] * 50, []
    for left in (30 + 2 * number // 5 for number in range(50)):
        heat.append(ground // 3 + 40)
        heat[-1][70:84, left : left + 20] = 150
    cameras = {part: tmp_path / f"{part}.mkv" for part in ("visible", "infrared")}
    write_video(cameras["visible"], colours, "ffv1", "rgb24", "yuv420p", shape=shape)
    write_video(cameras["infrared"], heat, "ffv1", "gray", "gray", shape=shape)
    assert infer(tmp_path / "plain.mkv", "--objects", **cameras) == 0
    assert {each["unknown"] for each in objects_of(tmp_path / "plain.report.jsonl")} == {None}
    monkeypatch.setenv("SEGMIF_OBJECT_UNKNOWN", "true")
    assert infer(tmp_path / "out.mkv", "--objects", **cameras) == 0
    listed = [each["unknown"] for each in objects_of(tmp_path / "out.report.jsonl")]
    assert len(listed) == 50 and listed[0] == []
    for number, (animal,) in enumerate(listed[25:], 25):  # within a second
        assert animal["track"] == listed[25][0]["track"]
        assert abs(animal["box"][0] - (30 + 2 * number // 5)) <= 2
