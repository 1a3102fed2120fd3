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


class SceneObjects(BaseModel):
    """The objects of a pair, the largest first."""

    model_config = ConfigDict(frozen=True)

    found: tuple[SceneObject, ...]
    left_out: int = Field(description="objects beyond the largest 64")
