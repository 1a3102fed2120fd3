"""What may be said of the two cameras: as settings, and by a client of its pairs."""

from typing import Any

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from segmif.thermal.camera_profile import (
    BITS,
    KELVIN_AT_ZERO,
    KELVIN_PER_COUNT,
    UNSTATED,
    ByteOrder,
    Cameras,
    Polarity,
    cameras_from_flat,
)

CROP = r"^\d{1,5}(,\d{1,5}){3}$"
INVALID = r"^\d{1,5}(,\d{1,5}){0,15}$"


def _bits(description: str) -> Any:
    return Field(default=None, ge=BITS[0], le=BITS[1], description=description)


class CameraFields(BaseModel):
    """Fields of `segmif.thermal.camera_profile.CameraProfile`, one name each; None: not stated."""

    visible_bits: int | None = _bits("significant bits of visible files of 16 bit")
    visible_crop: str | None = Field(
        default=None, pattern=CROP, description="pixels to cut from visible: left,top,right,bottom"
    )
    infrared_bits: int | None = _bits("significant bits of 16-bit infrared; counts above are none")
    infrared_crop: str | None = Field(
        default=None,
        pattern=CROP,
        description="pixels to cut from infrared, such as telemetry: left,top,right,bottom",
    )
    infrared_polarity: Polarity | None = Field(
        default=None, description="black_hot: what is hot has the low values; else white_hot"
    )
    infrared_invalid: str | None = Field(
        default=None, pattern=INVALID, description="values that mean 'not measured': 0,65535"
    )
    infrared_byte_order: ByteOrder | None = Field(
        default=None,
        description="swapped: the two bytes of each count changed places; native: they did not, "
        "whatever it looks like",
    )
    infrared_kelvin_per_count: float | None = Field(
        default=None,
        ge=KELVIN_PER_COUNT[0],
        le=KELVIN_PER_COUNT[1],
        description="kelvin that a count is worth, for the report",
    )
    infrared_kelvin_at_zero: float | None = Field(
        default=None,
        ge=KELVIN_AT_ZERO[0],
        le=KELVIN_AT_ZERO[1],
        description="temperature at count 0 in kelvin (0)",
    )

    @model_validator(mode="after")
    def _cameras_there_are(self) -> Self:
        self.cameras()
        return self

    def cameras(self) -> Cameras:
        """What these fields state; raises ValueError for what no camera has."""
        stated = self.model_fields_set
        if stated.isdisjoint(CAMERA_FIELDS):  # as in most requests
            return UNSTATED
        return cameras_from_flat({n: getattr(self, n) for n in CAMERA_FIELDS if n in stated})


CAMERA_FIELDS = tuple(CameraFields.model_fields)
