"""Objects of a mask, as JSON has them."""

from pydantic import BaseModel, ConfigDict, Field


class SceneObject(BaseModel):
    """One connected region of a class, in pixels of the visible frame as it came."""

    model_config = ConfigDict(frozen=True)

    id: int = Field(description="class id, the pixel value in the mask")
    name: str = Field(description="of the class")
    box: tuple[int, int, int, int] = Field(description="left, top, width, height in pixels")
    area: int = Field(description="pixels")
    centroid: tuple[float, float] = Field(description="x, y in pixels")
    confidence: float | None = Field(description="mean of its pixels, 0 to 1; null if unknown")
    track: int | None = Field(
        description="the same number in successive pairs of a stream while its boxes overlap; "
        "null without a stream"
    )
    range_m: float | None = Field(
        default=None,
        description="distance along the visible camera's axis, in metres, by the parallax of a "
        "calibrated rig; null if that does not show it",
    )
    range_std_m: float | None = Field(
        default=None, description="standard deviation of range_m, in metres"
    )


class UnknownObject(BaseModel):
    """Something warm that moves by itself and fits no class, in pixels of the visible frame."""

    model_config = ConfigDict(frozen=True)

    box: tuple[int, int, int, int] = Field(description="left, top, width, height in pixels")
    area: int = Field(description="pixels")
    centroid: tuple[float, float] = Field(description="x, y in pixels")
    contrast: float = Field(description="mean levels of 255 above its surroundings in infrared")
    speed: float = Field(
        description="the highest so far, in widths of the view a second, beyond the camera's motion"
    )
    track: int = Field(description="the same number in successive pairs; not one of `found`")


class SceneObjects(BaseModel):
    """The objects of a pair, the largest first."""

    model_config = ConfigDict(frozen=True)

    found: tuple[SceneObject, ...]
    left_out: int = Field(description="objects beyond the largest 64")
    unknown: tuple[UnknownObject, ...] | None = Field(
        default=None,
        description="what is warm, moves and fits no class, the largest first; null if nobody "
        "looks for it, and for a lone pair",
    )
