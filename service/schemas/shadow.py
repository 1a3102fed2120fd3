"""What the shadow phase has found, as JSON."""

from typing import Literal

from pydantic import BaseModel, Field


class NetworkFacts(BaseModel):
    """One of the two networks."""

    engine: str
    variant: str
    precision: str
    weights_sha256: str = Field(description="of the file, an .onnx or .engine")
    source_sha256: str | None = Field(description="of what that file was made from")


class ComparedClass(BaseModel):
    """One class in the masks of both."""

    id: int
    name: str
    serving_share: float = Field(description="of all pixels, 0 to 1")
    candidate_share: float
    iou: float | None = Field(
        description="intersection over union of both masks, 1: equal; null if neither has any"
    )


class Change(BaseModel):
    """Pixels of one class to which the candidate gives another one."""

    serving: str = Field(description="class")
    candidate: str = Field(description="class")
    share: float = Field(description="of all pixels, 0 to 1")


class LargestDifference(BaseModel):
    """A pair on which they differ much."""

    request_id: str
    at_s: float = Field(description="when it was compared, in seconds since 1970")
    differing_share: float = Field(description="of its pixels, 0 to 1")


class Milliseconds(BaseModel):
    """Time for a pair."""

    mean: float | None = Field(description="null without pairs")
    worst: float


class ShadowPairs(BaseModel):
    """What became of the share of pairs that the candidate is to see."""

    compared: int
    dropped: int = Field(description="the network in service had no time, so a newer one replaced")
    failed: int = Field(description="the candidate gave no result; last_error says why")


class ShadowReport(BaseModel):
    """How a candidate network compares with the one in service."""

    state: Literal["off", "comparing", "refused"]
    reloads: int = Field(description="of the service since its start")
    refused: str | None = Field(description="why the candidate sees no pairs")
    share: float | None = Field(description="of the pairs that the candidate is to see")
    serving: NetworkFacts
    candidate: NetworkFacts | None
    pairs: ShadowPairs
    differing_share: float | None = Field(
        description="of all pixels, 0 to 1, whose class differs; null without pairs"
    )
    fused_levels: float | None = Field(
        description="mean difference of the fused pictures, of 255; null without pairs"
    )
    classes: list[ComparedClass]
    changes: list[Change] = Field(description="the 10 most frequent ones")
    largest: list[LargestDifference] = Field(description="the 10 with the largest difference")
    serving_ms: Milliseconds = Field(description="of the batch that a compared pair was in")
    candidate_ms: Milliseconds = Field(description="in one thread of the lowest priority on a CPU")
    last_error: str | None
