"""What an operator may choose, from the environment (SEGMIF_...) or handed in."""

import math
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from segmif.runtime import Device

# `weights` lies beside the packages in a clone as in an installed wheel.
DEFAULT_WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "nano.onnx"


class Settings(BaseSettings):
    """Settings of one service; each reads the variable of its name, such as SEGMIF_MAX_PIXELS."""

    model_config = SettingsConfigDict(env_prefix="SEGMIF_", frozen=True)

    weights: Path = DEFAULT_WEIGHTS  # an .onnx with its manifest beside it
    threads: int | None = Field(default=None, ge=1)  # of the CPU; None: one per core
    device: Device = "cpu"
    rig: Path | None = None  # rig.yaml of the cameras; None: frames come aligned
    depth_m: float = Field(default=math.inf, gt=0)  # of the plane that the rig aligns
    max_body_bytes: int = Field(default=32 * 2**20, ge=1)
    max_pixels: int = Field(default=4_000_000, ge=1)  # of either frame
    max_pending: int = Field(default=16, ge=1)  # pairs being worked on or waiting for their turn
    # Of one address; None: as many as of all. Behind a proxy all clients have one address.
    max_pending_per_client: int | None = Field(default=None, ge=1)
    max_batch: int | None = Field(default=None, ge=1, le=64)  # None: 1 on a CPU, 8 on a GPU
    batch_delay_ms: float = Field(default=2.0, ge=0)  # how long a pair waits for others to join
    deadline_ms: float = Field(default=math.inf, gt=0)  # of requests that name none
    drain_s: int = Field(default=20, ge=1)  # how long accepted pairs may take after SIGTERM
