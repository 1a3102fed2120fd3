"""Opens a camera, a stream or a recording by its address."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from segmif.addresses import masked
from segmif.files import shown
from segmif.sources.bag import BagSource
from segmif.sources.cptv_file import CptvSource
from segmif.sources.ffmpeg import Target
from segmif.sources.flir import SeqSource
from segmif.sources.folder import FolderSource
from segmif.sources.frame import Part, Source, SourceError
from segmif.sources.gstreamer import GStreamerSource
from segmif.sources.image_file import ImageSource
from segmif.sources.options import SourceOptions
from segmif.sources.ros_topic import RosTopicSource
from segmif.sources.secrets import filled
from segmif.sources.synthetic import SyntheticSource
from segmif.sources.video import LiveVideo, VideoSource

KINDS = (
    "a video file, a folder of frames, an image, a .bag, .mcap, .cptv or .seq file, /dev/videoN or "
    "a number, an rtsp, http or udp address, ros2:/TOPIC, gst:PIPELINE, or synthetic"
)
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
# An http address that ends so is a file, played as a recording.
FILES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".ts", ".m4v"})
BAGS = frozenset({".bag", ".mcap", ".db3"})  # the topic of each camera is looked for
DRAWN = ("synthetic", "sample:")  # each camera has a picture of its own
NUMBERED = re.compile(r"(?P<spec>.+)#(?P<stream>\d{1,3})")
# Of an element of GStreamer: user-pw=..., password=...
SECRET_PROPERTY = re.compile(r"((?:pw|pass\w*|token|secret|key)=)\S+", re.IGNORECASE)
Opener = Callable[[str, str, Part, SourceOptions], Source]


def open_source(
    spec: str,
    part: Part,
    options: SourceOptions = SourceOptions(),  # noqa: B008  frozen
) -> Source:
    """
    The source that `spec` names, not opened yet: its `frames` opens it.

    `${NAME}` and `${file:/path}` in `spec` are replaced by secrets. Raises SourceError for what no
    source can be, without a password.
    """
    address, target = masked(shown(spec)), filled(spec)
    if not target.strip():
        raise SourceError(f"the address of a source is empty; expected {KINDS}")
    scheme = target.partition(":")[0].lower()
    opener = _BY_SCHEME.get(scheme)
    if opener is not None and (":" in target or scheme == "synthetic"):
        return opener(target, address, part, options)
    if "://" in target:
        raise SourceError(f"{address}: no source has this scheme; expected {KINDS}")
    return _local(target, address, part, options)


def local_path(spec: str) -> Path | None:
    """The file or folder that an address names, perhaps before #stream or :/topic."""
    for word in (spec, spec.rpartition("#")[0], spec.rpartition(":/")[0]):
        if word and Path(word).exists():
            return Path(word)
    return None


def is_one_source(visible: str, infrared: str) -> bool:
    """Whether two addresses name one camera or recording, which gives both the same frames."""
    if visible == infrared:
        return not (visible.startswith(DRAWN) or _chooses_topics(Path(visible)))
    paths = Path(visible), Path(infrared)
    both = all(path.exists() for path in paths)
    return both and paths[0].samefile(paths[1]) and not _chooses_topics(paths[0])


def _chooses_topics(path: Path) -> bool:
    return path.suffix.lower() in BAGS or (path / "metadata.yaml").is_file()


def _rtsp(url: str, address: str, part: Part, options: SourceOptions) -> Source:
    said = (("rtsp_transport", options.rtsp_transport), *_checked_tls(options))
    return LiveVideo((Target(url, "rtsp", said, options.low_latency),), address, part, options)


def _http(url: str, address: str, part: Part, options: SourceOptions) -> Source:
    url, options = _with_stream(url, options)
    is_file = Path(urlsplit(url).path).suffix.lower() in FILES
    live = not is_file if options.live is None else options.live
    return (LiveVideo if live else VideoSource)(
        (Target(url, options=_checked_tls(options)),), address, part, options
    )


def _checked_tls(options: SourceOptions) -> tuple[tuple[str, str], ...]:
    if options.ca_file is None:
        return ()
    return ("tls_verify", "1"), ("ca_file", options.ca_file)


def _udp(url: str, address: str, part: Part, options: SourceOptions) -> Source:
    # What comes too fast is lost, as it should be, without ending the stream.
    said = (("overrun_nonfatal", "1"), ("fifo_size", "100000"), ("reuse", "1"))
    return LiveVideo((Target(url, "mpegts", said, options.low_latency),), address, part, options)


def _synthetic(spec: str, address: str, part: Part, options: SourceOptions) -> Source:
    return SyntheticSource(spec.partition(":")[2], address, part)


def _gstreamer(spec: str, address: str, part: Part, options: SourceOptions) -> Source:
    shown_address = SECRET_PROPERTY.sub(r"\1***", address)
    return GStreamerSource(spec.partition(":")[2], shown_address, part, options)


def _ros_topic(spec: str, address: str, part: Part, options: SourceOptions) -> Source:
    return RosTopicSource(spec.partition(":")[2], address, part, options)


_BY_SCHEME: dict[str, Opener] = {
    **dict.fromkeys(("rtsp", "rtsps"), _rtsp),
    **dict.fromkeys(("http", "https"), _http),
    "udp": _udp,
    "synthetic": _synthetic,
    "gst": _gstreamer,
    "ros2": _ros_topic,
}


def _local(spec: str, address: str, part: Part, options: SourceOptions) -> Source:
    if spec.isdecimal() and not Path(spec).exists():
        spec = f"/dev/video{spec}"
    path = Path(spec)
    if path.is_char_device() or spec.startswith("/dev/"):
        return _device(spec, address, part, options)
    if path.exists():
        return _of_path(path, None, address, part, options)
    if (numbered := NUMBERED.fullmatch(spec)) and Path(numbered["spec"]).is_file():
        path, options = Path(numbered["spec"]), _chosen(options, numbered["stream"])
        return _of_path(path, None, address, part, options)
    before, colon, topic = spec.rpartition(":/")
    if colon and Path(before).exists():
        return _of_path(Path(before), f"/{topic}", address, part, options)
    raise SourceError(f"{address}: there is no such file or folder; expected {KINDS}")


def _of_path(
    path: Path, topic: str | None, address: str, part: Part, options: SourceOptions
) -> Source:
    suffix = path.suffix.lower()
    if _chooses_topics(path):
        return BagSource(path, topic, address, part, options)
    if topic is not None:
        raise SourceError(f"{address}: a topic is named, but {path.name} is no recording of ROS")
    if path.is_dir():
        return FolderSource(path, address, part, options)
    if suffix == ".cptv":
        return CptvSource(path, address, part, options)
    if suffix == ".seq":
        return SeqSource(path, address, part, options)
    if suffix in IMAGES:
        return ImageSource(path, address, part)
    if not path.is_file():
        raise SourceError(f"{address} is neither a file nor a folder; expected {KINDS}")
    # `file:` keeps FFmpeg from reading a protocol into the name.
    return VideoSource((Target(f"file:{path.absolute()}"),), address, part, options)


def _device(device: str, address: str, part: Part, options: SourceOptions) -> Source:
    said = [("ts", "abs")]  # stamps of the driver, on the wall clock
    if options.input_format:
        said += [("input_format", options.input_format)]
    plain = Target(device, "v4l2", tuple(said))
    if part == "visible" or options.input_format:
        return LiveVideo((plain,), address, part, options)
    # The sensor's own 16 bits first; a camera without them gives what it has.
    deep = Target(device, "v4l2", (*said, ("input_format", "gray16le")))
    return LiveVideo((deep, plain), address, part, options)


def _with_stream(url: str, options: SourceOptions) -> tuple[str, SourceOptions]:
    numbered = NUMBERED.fullmatch(url)
    return (numbered["spec"], _chosen(options, numbered["stream"])) if numbered else (url, options)


def _chosen(options: SourceOptions, stream: str) -> SourceOptions:
    return replace(options, stream=int(stream))
