"""Video files: pixels bit for bit, colours, stamps, and what is broken."""

import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from segmif.sources.frame import SourceError, SourceFrame
from segmif.sources.open_source import open_source
from segmif.sources.options import SourceOptions
from tests.segmif.sources.senders import grey, write_video

RANDOM = np.random.default_rng(0)
PTS_MS = [0, 40, 90, 100, 200]  # of a variable rate
BARS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]


def frames(spec: object, part: str, **options: object) -> list[SourceFrame]:
    return list(open_source(str(spec), part, SourceOptions(**options)).frames())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt", "bits"),
    [
        (".mkv", "ffv1", "gray16le", None),
        (".mov", "png", "gray16be", None),
        (".nut", "rawvideo", "gray16be", None),
        (".mkv", "ffv1", "gray14le", 14),
        (".mkv", "ffv1", "gray12le", 12),
        (".mkv", "ffv1", "gray10le", 10),
    ],
)
def test_counts_come_bit_for_bit(
    tmp_path: Path, suffix: str, codec: str, pix_fmt: str, bits: int | None
) -> None:
    counts = [RANDOM.integers(0, 2 ** (bits or 16), (48, 70), np.uint16) for _ in PTS_MS]
    path = write_video(tmp_path / f"counts{suffix}", counts, codec, pix_fmt, pix_fmt)
    found = frames(path, "infrared")
    assert len(found) == len(counts)
    for one, written in zip(found, counts, strict=True):
        assert one.pixels.dtype == np.uint16
        assert one.profile.bits == bits
        np.testing.assert_array_equal(one.pixels, written)


def test_grey_levels_come_bit_for_bit(tmp_path: Path) -> None:
    levels = [RANDOM.integers(0, 256, (48, 70), np.uint8) for _ in range(3)]
    path = write_video(tmp_path / "levels.mkv", levels, "ffv1", "gray", "gray")
    for one, written in zip(frames(path, "infrared"), levels, strict=True):
        np.testing.assert_array_equal(one.pixels, written)


@pytest.mark.parametrize("height", [96, 720])
@pytest.mark.parametrize("stated", [None, 1, 6])  # AVCOL_SPC: none, BT.709, BT.601
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_right_for_each_matrix_and_range(
    tmp_path: Path, height: int, stated: int | None, full: bool
) -> None:
    bars = np.repeat(np.array(BARS, np.uint8), 32, axis=0)
    picture = np.repeat(bars[None], height, axis=0)
    matrix = {1: 1, 6: 5, None: 1 if height >= 720 else 5}[stated]
    path = tmp_path / "bars.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        stream.codec_context.color_range = 2 if full else 1
        if stated:
            stream.codec_context.colorspace = stated
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=2,
            dst_color_range=2 if full else 1,
        )
        frame.colorspace, frame.color_range = stated or 2, 2 if full else 1
        container.mux([*stream.encode(frame), *stream.encode(None)])
    found = frames(path, "visible")[0].pixels
    middles = found[height // 2, 16::32].astype(int)
    assert np.abs(middles - np.array(BARS)).max() <= 3


def test_luma_of_the_limited_range_is_stretched(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, axis=0)
    picture = np.repeat(ramp[..., None], 3, axis=2)
    for name, pix_fmt in (("limited", "yuv420p"), ("full", "yuvj420p")):
        codec = "libx264" if name == "limited" else "mjpeg"
        path = write_video(
            tmp_path / f"{name}.mkv", [picture] * 2, codec, pix_fmt, crf="0", qmin="1"
        )
        found = frames(path, "infrared")[0].pixels
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - ramp).max() <= 3, name


def test_false_colours_are_no_infrared(tmp_path: Path) -> None:
    colours = RANDOM.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    path = write_video(tmp_path / "palette.mkv", [colours] * 2)
    with pytest.raises(SourceError, match=r"palette\.mkv: the infrared frame has 3 different"):
        frames(path, "infrared")


def test_stamps_are_those_of_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "vfr.mkv", [grey(9)] * 5, pts_ms=PTS_MS)
    found = frames(path, "visible")
    assert [one.stamp_ns for one in found] == [at * 10**6 for at in PTS_MS]
    assert {one.stamp_from for one in found} == {"source"}
    assert [one.name for one in found] == list("01234")


def test_stamps_of_a_frame_rate_that_no_float_holds(tmp_path: Path) -> None:
    path = tmp_path / "ntsc.mp4"
    rate = Fraction(30_000, 1001)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for at in range(5):
            frame = av.VideoFrame.from_ndarray(grey(at), format="rgb24")
            frame.pts = 10**9 + at  # a year of frames
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        ticks = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        base = container.streams.video[0].time_base
    assert base is not None
    exact = [int(one * base * 10**9) for one in sorted(ticks)]
    assert [one.stamp_ns for one in frames(path, "visible")] == exact


def test_frames_without_times_have_a_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.h264", [grey(9)] * 3)
    assert [one.stamp_ns for one in frames(path, "visible")] == [0, 40_000_000, 80_000_000]


def test_times_that_jump_back_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [write_video(tmp_path / f"{name}.ts", [grey(9)] * 4) for name in "ab"]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    stamps = [one.stamp_ns for one in frames(path, "visible")]
    assert len(stamps) > 5
    assert stamps == sorted(set(stamps))


def test_a_file_that_is_cut_off_gives_what_there_is(tmp_path: Path) -> None:
    noise = [RANDOM.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)]
    path = write_video(tmp_path / "cut.mkv", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 3 < len(frames(path, "visible")) < 20


def test_a_file_without_its_index_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4", [grey(9)] * 20)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")])
    with pytest.raises(SourceError, match="cut off before its index was written"):
        frames(path, "visible")


def test_damaged_packets_are_counted(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "damaged.avi", [grey(at) for at in range(12)], "mjpeg", "yuvj420p"
    )
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xd8"]
    for at, end in pairwise(starts[3:6]):
        data[at : end - 8] = bytes(end - 8 - at)  # up to the next chunk's head
    path.write_bytes(data)
    source = open_source(str(path), "visible")
    assert len(list(source.frames())) == 10
    assert source.damaged == 2


def test_a_size_that_changes_is_an_error_with_both(tmp_path: Path) -> None:
    path = tmp_path / "changes.ts"
    small = write_video(tmp_path / "a.ts", [grey(9)] * 4)
    large = write_video(tmp_path / "b.ts", [grey(9, 96, 128)] * 4)
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(SourceError, match="changed from 64x48 to 128x96"):
        frames(path, "visible")


def test_one_of_several_streams(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for stream, level in zip(streams, (40, 200), strict=True):
            assert isinstance(stream, av.VideoStream)
            frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
            container.mux([*stream.encode(frame), *stream.encode(None)])
    for spec, level in ((path, 40), (f"{path}#0", 40), (f"{path}#1", 200)):
        assert abs(float(frames(spec, "visible")[0].pixels.mean()) - level) < 4
    assert abs(float(frames(path, "visible", stream=1)[0].pixels.mean()) - 200) < 4
    with pytest.raises(SourceError, match="it has 2 video streams"):
        frames(f"{path}#2", "visible")


def test_sound_alone_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(SourceError, match=r"sound\.mkv has sound but no video"):
        frames(path, "visible")


def test_a_rotation_is_said_and_not_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(90)
        frame = av.VideoFrame.from_ndarray(grey(9), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert frames(path, "visible")[0].pixels.shape == (48, 64, 3)
    assert "it is not turned" in caplog.text


def test_closing_ends_a_recording(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mkv", [grey(9)] * 50)
    source = open_source(str(path), "visible")
    given = source.frames()
    next(given)
    source.close()
    assert list(given) == []


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.mp4 cannot be opened"):
        frames(path, "visible")


def test_without_the_package_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "x.mp4").touch()
    with pytest.raises(SourceError, match=r"need the package av: pip install .*\[live\]"):
        open_source(str(tmp_path / "x.mp4"), "visible")
