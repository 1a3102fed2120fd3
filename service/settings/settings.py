"""What an operator may choose: by flags, the environment (SEGMIF_...) or a file of TOML."""

import json
import logging
import math
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import Self

from segmif.files import words_of
from segmif.imaging.image_header import MAX_PIXELS
from segmif.local_host import is_loopback
from segmif.parsing import parse_toml
from segmif.runtime import Device
from segmif.thermal.gain_control import GainRule, Method
from segmif.thermal.gain_window import Window

from ..schemas.camera_options import CameraFields
from ..schemas.pair_options import Policy
from .environment import PREFIX, Environment, check_environment, closest, is_service_link
from .limits import CHUNKS, Entry, Limits, limits_by_entry, share_of
from .types import (
    ClassNames,
    HostNames,
    ListenHost,
    LogFormat,
    Networks,
    OriginNames,
    Prefix,
    ProxyHeaders,
    Token,
)

# `weights` lies beside the packages in a clone as in an installed wheel.
DEFAULT_WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "nano.onnx"
SHARED_MEMORY_FOLDER = Path("/dev/shm")  # Linux's folder of POSIX shared memory
RIGS = "rigs"  # the table of a settings file that is no setting
COUNTS = 2**16 - 1  # the largest of 16-bit infrared

logger = logging.getLogger(__name__)


class Settings(CameraFields, BaseSettings):
    """Settings of one service; each reads the variable of its name, such as SEGMIF_MAX_PIXELS."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    weights: Path = DEFAULT_WEIGHTS  # .onnx or .engine, its manifest beside it
    plugin: Path | None = None  # library of our attention, for an engine that was built with it
    threads: int | None = Field(default=None, ge=1, le=1024)  # of the CPU; None: one per core
    device: Device = "cpu"  # of an .onnx; an .engine is for a GPU
    rig: Path | None = None  # rig.yaml of the cameras; None: frames come aligned
    depth_m: float = Field(default=math.inf, gt=0, le=math.inf)  # of the plane that the rig aligns
    reference: Path | None = None  # an .onnx that the weights must agree with before they serve
    shadow_weights: Path | None = (
        None  # a candidate, which sees a share of the pairs and never answers
    )
    shadow_share: float = Field(default=0.1, gt=0, le=1)  # of the pairs
    log: LogFormat = "text"
    # Strength of the fused frame's hue unless the request states one; None: as the weights say.
    tint: float | None = Field(default=None, ge=0, le=1)
    gain: Method = "percentile"  # of 16-bit infrared
    gain_low: float | None = Field(default=None, ge=0, le=COUNTS)  # shown as black; gain=fixed
    gain_high: float | None = Field(default=None, ge=0, le=COUNTS)  # shown as white; gain=fixed
    gain_smoothing: float = Field(default=0.9, ge=0, lt=1)  # within a stream; 0.9 forgets in 0.3 s
    memory: bool = True  # earlier pairs of a stream steady the result
    max_skew_ms: float = Field(default=1000 / 30 / 2, ge=0, le=3_600_000)  # half a frame at 30 Hz
    degraded: Policy = "flag"  # policy for a pair with a fault unless the request states one
    object_classes: ClassNames = ()  # of objects=true; none: all but background and areas
    object_min_area: int = Field(default=64, ge=1, le=MAX_PIXELS)  # pixels of the visible frame
    object_unknown: bool = False  # in a stream also what is warm, moves and fits no class
    max_invalid: float = Field(default=0.01, ge=0, le=1)  # share of infrared pixels, then a fault
    host: ListenHost = "127.0.0.1"
    # Names by which it may be asked, besides this machine's; beyond loopback none: any.
    allowed_hosts: HostNames = ()
    allowed_origins: OriginNames = ()  # of pages elsewhere that may ask, such as https://rig.example
    trusted_proxies: Networks = ()  # their addresses: they say who the client is
    proxy_headers: ProxyHeaders = "any"  # that those proxies set; any: X-Forwarded-, else Forwarded
    root_path: Prefix = ""  # of the path, as clients see it behind a proxy: /segmif
    port: int = Field(default=8000, ge=0, le=65_535)  # 0: any that is free
    token: Token | None = None  # that clients must send; None: whoever reaches the port may ask
    open_to_all: bool = False  # yes, listen beyond this machine without a token
    tls_certificate: Path | None = None  # PEM; with tls_key
    tls_key: Path | None = None
    shared_memory: bool = False  # lets clients of this user and machine pass frames in memory
    hand_out_pairs: bool = False  # lets clients see the newest raw pair of a stream: to calibrate
    save_rig: bool = False  # lets clients write the rig file of `segmif run`: a nudge of the page
    max_connections: int = Field(default=512, ge=1, le=100_000)
    # Of one address; None: three quarters of what all may have.
    max_connections_per_client: int | None = Field(default=None, ge=1, le=100_000)
    max_body_bytes: int = Field(default=32 * 2**20, ge=1, le=2**31)
    # Of bodies, WebSocket messages and answers that are not taken, all at a time.
    max_buffered_bytes: int = Field(default=256 * 2**20, ge=1, le=2**40)
    max_buffered_bytes_per_client: int | None = Field(default=None, ge=1, le=2**40)
    head_timeout_s: float = Field(default=10.0, gt=0, le=3600)  # for the headers of a request
    body_idle_s: float = Field(default=5.0, gt=0, le=3600)  # without a byte of a body or message
    body_total_s: float = Field(default=30.0, gt=0, le=3600)  # for the whole body or message
    answer_total_s: float = Field(default=60.0, gt=0, le=3600)  # until a client has its answer
    keep_alive_s: int = Field(default=5, ge=1, le=3600)  # between two requests of a connection
    max_pixels: int = Field(default=4_000_000, ge=1, le=MAX_PIXELS)  # of either frame
    decode_processes: int = Field(default=2, ge=0, le=64)  # confined, for files; 0: in the service
    decode_limit_s: float = Field(default=2.0, ge=0.1, le=600)  # of CPU time for 4 megapixels
    max_pending: int = Field(default=16, ge=1, le=10_000)  # pairs in work or waiting
    # None: as many as there is room; a client with few pairs takes a place of the one with most.
    max_pending_per_client: int | None = Field(default=None, ge=1, le=10_000)
    max_heavy_pending: int = Field(default=4, ge=1, le=1024)  # pairs that order more than others
    max_batch: int | None = Field(default=None, ge=1, le=64)  # None: 1 on a CPU, 8 on a GPU
    batch_delay_ms: float = Field(default=2.0, ge=0, le=10_000)  # that a pair waits for others
    deadline_ms: float = Field(default=math.inf, gt=0, le=math.inf)  # of requests that name none
    memory_mib: int | None = Field(default=None, ge=1, le=2**30)  # of the process; beyond: 503
    self_test_s: float = Field(default=120.0, gt=0, le=3600)  # for the golden pair, at start
    drain_s: int = Field(default=20, ge=1, le=86_400)  # for accepted pairs, after SIGTERM

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from: what is given, else the environment."""
        return init_settings, Environment(settings_cls)

    @model_validator(mode="after")
    def _fixed_window_is_complete(self) -> Self:
        self.gain_rule()
        return self

    @model_validator(mode="after")
    def _safe_beyond_this_machine(self) -> Self:
        if not (is_loopback(self.host) or self.token or self.open_to_all):
            raise ValueError(
                f"host {self.host} can be reached from other machines: set SEGMIF_TOKEN, or say "
                "with --open-to-all that everybody may ask"
            )
        if self.shared_memory and not is_loopback(self.host):
            raise ValueError(f"shared memory is for this machine, host {self.host} is for others")
        if self.shared_memory and not SHARED_MEMORY_FOLDER.is_dir():
            raise ValueError(f"shared memory needs {SHARED_MEMORY_FOLDER}, which Linux has")
        if self.hand_out_pairs and not (is_loopback(self.host) or self.token):
            raise ValueError(
                f"hand_out_pairs lets all who reach host {self.host} see through the cameras: set "
                "SEGMIF_TOKEN"
            )
        if self.save_rig and not (is_loopback(self.host) or self.token):
            raise ValueError(
                f"save_rig lets all who reach host {self.host} change the rig file: set "
                "SEGMIF_TOKEN"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate and its key")
        return self

    @cached_property
    def limits(self) -> Mapping[Entry, Limits]:
        """What bounds each entry point."""
        return limits_by_entry(
            Limits(
                body_bytes=self.max_body_bytes,
                handshake_s=self.head_timeout_s,
                head_s=self.head_timeout_s,
                body_idle_s=self.body_idle_s,
                body_total_s=self.body_total_s,
                answer_s=self.answer_total_s,
                pieces=CHUNKS,
                outstanding=1,
                pending=self.pending_of_one,
                heavy=self.max_heavy_pending,
                buffered_bytes=self.max_buffered_bytes,
                buffered_of_one=self.buffered_of_one,
                connections=self.max_connections,
                connections_of_one=self.connections_of_one,
                reserve=False,
            )
        )

    @property
    def connections_of_one(self) -> int:
        """Connections that one client may have."""
        return self.max_connections_per_client or share_of(self.max_connections)

    @property
    def buffered_of_one(self) -> int:
        """Bytes that may be held for one client: its share, but always a whole body."""
        share = max(share_of(self.max_buffered_bytes), self.max_body_bytes)
        return self.max_buffered_bytes_per_client or min(share, self.max_buffered_bytes)

    @property
    def pending_of_one(self) -> int:
        """Pairs that one client may have in work, if no other wants a place."""
        return self.max_pending_per_client or self.max_pending

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes."""
        return self.device in ("cuda", "tensorrt") or self.weights.suffix == ".engine"

    def gain_rule(self) -> GainRule:
        """How counts become levels; raises ValueError if the settings contradict each other."""
        stated = None not in (self.gain_low, self.gain_high)
        window = Window(self.gain_low or 0.0, self.gain_high or 0.0) if stated else None
        return GainRule(self.gain, window, self.gain_smoothing)


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """
    Settings by flags (None: not given), else the environment, else a file with the same names.

    Raises ValueError in one line, also for what is misspelt.
    """
    for warning in check_environment(os.environ, Settings.model_fields):
        logger.warning("%s", warning)
    stated = {name.upper() for name, v in os.environ.items() if not is_service_link(name, v)}
    in_file = _read_toml(file) if file else {}
    below = {n: value for n, value in in_file.items() if f"{PREFIX}{n}".upper() not in stated}
    above = {n: v for n, v in flags.items() if n in Settings.model_fields and v is not None}
    try:
        return Settings(**(below | above))
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ValueError("; ".join(fault.removeprefix(": ") for fault in faults)) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        found = parse_toml(file)
    except OSError as error:
        raise ValueError(f"the settings cannot be read: {words_of(error)}") from error
    found.pop(RIGS, None)  # of `segmif run`, see service.live.rig_settings
    for name in found.keys() - Settings.model_fields.keys():
        close = closest(name, Settings.model_fields)
        hint = f"; is {close} meant?" if close else ""
        raise ValueError(f"{file}: {name} is no setting{hint}")
    return found


def as_toml(settings: Settings) -> str:
    """Settings as a file for `load_settings`; what is not set, and the token, as comments."""
    return "".join(f"{_line(name, value)}\n" for name, value in settings)


def _line(name: str, value: object) -> str:
    match value:
        case None:
            return f"# {name} ="
        case SecretStr():
            return f"# {name} = (set, not shown)"
        case bool():
            return f"{name} = {str(value).lower()}"
        case tuple():
            return f"{name} = {json.dumps([str(item) for item in value])}"
        case int() | float():
            return f"{name} = {value}"
        case _:
            return f"{name} = {json.dumps(str(value), ensure_ascii=False)}"
