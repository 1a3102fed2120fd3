"""A prediction as the bytes of an answer: one picture, or all parts as multipart/mixed."""

from dataclasses import asdict, dataclass
from uuid import uuid4

from segmif import images
from segmif.classes import Taxonomy, overlay
from segmif.frames import Prediction
from segmif.runtime import Runtime
from service.negotiation import JPEG, MIXED, PNG, View
from service.pipeline import Prepared, Times, shares
from service.schemas import ClassShare, Gain, Report, RigUse, Size


@dataclass(frozen=True)
class Wish:
    """What the client wants: a media type, and which picture where the answer is one picture."""

    media_type: str
    view: View


@dataclass(frozen=True)
class Answer:
    """Body and type of a response."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class Part:
    """One part of a multipart answer."""

    name: str
    filename: str
    content_type: str
    body: bytes


def encode(
    wish: Wish,
    prediction: Prediction,
    prepared: Prepared,
    runtime: Runtime,
    times: Times,
    request_id: str,
) -> Answer:
    """Encode a prediction as wished; the report comes last, so that it knows all times."""
    taxonomy = runtime.manifest.classes
    if wish.media_type != MIXED:
        with times.measure("encode"):
            return Answer(_picture(wish, prediction, taxonomy), wish.media_type)
    with times.measure("encode"):
        fused = images.encode_png(prediction.fused)
        mask = images.encode_indexed_png(prediction.labels, taxonomy.palette)
        over = (
            images.encode_png(overlay(prediction.fused, prediction.labels, taxonomy))
            if wish.view == "overlay"
            else None
        )
    report = describe(prediction, prepared, runtime, times, request_id)
    parts = [
        Part("fused", "fused.png", PNG, fused),
        Part("mask", "mask.png", PNG, mask),
        Part("report", "report.json", "application/json", report.model_dump_json().encode()),
    ]
    if over:
        parts.append(Part("overlay", "overlay.png", PNG, over))
    return mixed(parts)


def describe(
    prediction: Prediction, prepared: Prepared, runtime: Runtime, times: Times, request_id: str
) -> Report:
    """Say how a prediction came about."""
    manifest = runtime.manifest
    height, width = prediction.labels.shape
    infrared_height, infrared_width = prepared.infrared_shape
    window = prepared.window
    covered = shares(prediction.labels, len(manifest.classes.names))
    return Report(
        request_id=request_id,
        visible=Size(width=width, height=height),
        infrared=Size(width=infrared_width, height=infrared_height),
        alignment=prepared.alignment,
        rig=RigUse(**asdict(prepared.placed)) if prepared.placed else None,
        gain=Gain(low=window.low, high=window.high) if window else None,
        classes=[
            ClassShare(id=id, name=name, share=round(share, 6))
            for id, (name, share) in enumerate(zip(manifest.classes.names, covered, strict=True))
        ],
        batch=times.batch,
        times_ms={stage: round(ms, 2) for stage, ms in times.ms.items()},
        engine=runtime.name,
        variant=manifest.variant,
        precision=manifest.precision,
        weights_sha256=manifest.sha256,
    )


def mixed(parts: list[Part]) -> Answer:
    """Put parts into one multipart/mixed body (RFC 2046, section 5.1)."""
    boundary = uuid4().hex
    chunks = []
    for part in parts:
        head = (
            f"--{boundary}\r\n"
            f"Content-Type: {part.content_type}\r\n"
            f'Content-Disposition: attachment; name="{part.name}"; filename="{part.filename}"\r\n'
            f"Content-Length: {len(part.body)}\r\n\r\n"
        )
        chunks += [head.encode(), part.body, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return Answer(b"".join(chunks), f"{MIXED}; boundary={boundary}")


def _picture(wish: Wish, prediction: Prediction, taxonomy: Taxonomy) -> bytes:
    if wish.view == "mask":
        return images.encode_indexed_png(prediction.labels, taxonomy.palette)
    picture = (
        prediction.fused
        if wish.view == "fused"
        else overlay(prediction.fused, prediction.labels, taxonomy)
    )
    return images.encode_jpeg(picture) if wish.media_type == JPEG else images.encode_png(picture)
