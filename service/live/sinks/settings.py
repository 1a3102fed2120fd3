"""The settings of sinks, as a file or a command line states them."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from segmif.sources.ros_topic import NAME

from .picture import PictureName
from .rotation import SUFFIXES, Rotation

STREAM = re.compile(r"rtsps?://[^/].*|udp://.*:\d+.*|/dev/video\d+", re.DOTALL)
PARTS = 4  # files of all that is kept
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Quality = Annotated[int, Field(ge=0, le=51)]


def _no_address(path: object) -> object:
    # A password in it would become the name of a folder, and stand wherever that is shown.
    if isinstance(path, str) and "://" in path:
        raise ValueError("expected a file or a folder, got an address: that is of kind stream")
    return path


LocalPath = Annotated[Path, BeforeValidator(_no_address)]


class _Settings(BaseModel):
    # An address may hold a password, which no error may show.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AroundEvents(_Settings):
    """Record around events alone."""

    before_s: float = Field(default=5.0, ge=0, le=300)
    after_s: float = Field(default=10.0, ge=0, le=3600)
    memory_mb: float = Field(default=256.0, gt=0, le=100_000)  # of the results before an event


class _Recorded(_Settings):
    """What all recordings have in common."""

    path: LocalPath  # a folder, or one file by its suffix
    max_mb: Positive | None = None  # then a new file begins
    max_minutes: Positive | None = 60
    keep_gb: Positive | None = None  # of all recordings in the folder; the oldest are deleted
    keep_days: Positive | None = None
    around_events: AroundEvents | None = None  # None: all results

    def rotation(self) -> Rotation:
        """The same in bytes and seconds."""
        # Otherwise the open file alone might hold more than is kept.
        max_mb = self.max_mb or (self.keep_gb and self.keep_gb * 1000 / PARTS)
        return Rotation(
            file_bytes=max_mb and max_mb * 1e6,
            file_s=self.max_minutes and self.max_minutes * 60,
            kept_bytes=self.keep_gb and self.keep_gb * 1e9,
            kept_s=self.keep_days and self.keep_days * 86_400,
        )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.keep_gb or self.keep_days:
            if self.path.suffix in SUFFIXES:
                raise ValueError(f"keep_gb and keep_days need a folder, {self.path.name} is a file")
            if not (self.max_mb or self.max_minutes or self.keep_gb):
                raise ValueError("keep_days deletes whole files: state max_mb or max_minutes too")
            if self.keep_gb and self.max_mb and self.keep_gb * 1000 < 2 * self.max_mb:
                raise ValueError("keep_gb must hold two files of max_mb at least")
        return self


class VideoSettings(_Recorded):
    """A recording as MP4 or MKV."""

    kind: Literal["video"] = "video"
    picture: PictureName = "overlay"
    container: Literal["mp4", "mkv"] | None = None  # that of a single file, else mkv
    codec: str = "h264"  # or mpeg4, ffv1 (without loss, mkv), or an encoder of FFmpeg
    quality: Quality = 21  # constant rate factor: 0 is best
    counts: bool = False  # infrared as it came beside it, FFV1 without loss

    @property
    def suffix(self) -> str:
        """The suffix of the files: .mp4 or .mkv."""
        if self.path.suffix in (".mp4", ".mkv"):
            return self.path.suffix
        return f".{self.container or 'mkv'}"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.container and self.suffix != f".{self.container}":
            raise ValueError(f"{self.path.name} is no {self.container}: leave out the container")
        if self.codec == "ffv1" and self.suffix == ".mp4":
            raise ValueError("MP4 cannot hold ffv1: state container mkv")
        return self


RosTopic = Literal[
    "fused", "overlay", "mosaic", "mask", "camera_info", "label_info", "detections", "transform"
]
Topic = RosTopic | Literal["visible", "infrared", "report"]
ImageForm = Literal["raw", "jpeg", "png"]  # of fused, overlay, mosaic and visible


class McapSettings(_Recorded):
    """A recording as MCAP with ROS 2 messages."""

    kind: Literal["mcap"] = "mcap"
    topics: tuple[Topic, ...] = (
        *("fused", "overlay", "mask", "visible", "infrared", "report"),
        *("camera_info", "label_info", "detections", "transform"),
    )
    images: ImageForm = "jpeg"
    compression: Literal["zstd", "lz4", "none"] = "zstd"


class RosSettings(_Settings):
    """Topics of ROS 2."""

    kind: Literal["ros2"] = "ros2"
    namespace: Annotated[str, Field(pattern=NAME.pattern)] | None = None  # None: /RIG
    topics: tuple[RosTopic, ...] = (
        *("fused", "mask", "camera_info", "label_info", "detections", "transform"),
    )
    images: ImageForm = "raw"


class StreamSettings(_Settings):
    """A stream to a server, a receiver or a loopback device."""

    kind: Literal["stream"] = "stream"
    url: SecretStr  # rtsp://..., rtsps://..., udp://HOST:PORT or /dev/videoN
    picture: PictureName = "overlay"
    codec: str = "h264"  # or mpeg4, or an encoder of FFmpeg; a device takes raw pictures
    quality: Quality = 25
    ca_file: Path | None = None  # whom to trust with rtsps:// instead of whom the machine does
    max_kbit_s: Annotated[int, Field(ge=50, le=1_000_000)] | None = None  # of H.264

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        if not STREAM.fullmatch(url.get_secret_value()):
            raise ValueError("expected rtsp://HOST/PATH, rtsps://, udp://HOST:PORT or /dev/videoN")
        return url


class JsonlSettings(_Recorded):
    """A line of JSON for each pair."""

    kind: Literal["jsonl"] = "jsonl"  # `path` may be `-`, the standard output


class ImagesSettings(_Settings):
    """Folders of pictures, as `infer` writes them."""

    kind: Literal["images"] = "images"
    path: LocalPath
    overlay: bool = False
    names: Literal["stamp", "source"] = "stamp"  # of the files


class CollectSettings(_Settings):
    """Pairs that are worth labelling."""

    kind: Literal["collect"] = "collect"
    path: LocalPath  # a folder; its oldest pairs are deleted beyond the next two
    keep_gb: Positive = 2.0
    keep_days: Positive = 30.0
    every_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0  # at least, for one reason
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.001  # of the pairs


SinkSettings = Annotated[
    VideoSettings
    | McapSettings
    | StreamSettings
    | JsonlSettings
    | ImagesSettings
    | CollectSettings
    | RosSettings,
    Field(discriminator="kind"),
]
SETTINGS: TypeAdapter[SinkSettings] = TypeAdapter(SinkSettings)  # reads them from a file


def needs_confidence(settings: SinkSettings) -> bool:
    """Whether a sink writes the confidence of the mask, or of its objects."""
    return isinstance(settings, CollectSettings) or "detections" in getattr(settings, "topics", ())
