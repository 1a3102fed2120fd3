"""A prediction as the bytes of an answer: one picture, or all parts as multipart/mixed."""

from dataclasses import asdict, dataclass
from uuid import uuid4

from segmif import images
from segmif.classes import overlay
from segmif.frames import Prediction
from segmif.runtime import Runtime
from segmif.thermal import GainRule
from service.condition import Condition
from service.negotiation import JPEG, MIXED, PNG, View
from service.pipeline import Prepared, Times, shares
from service.schemas import ClassShare, Fitness, Gain, Report, RigUse, Size

FLAGS_HEADER = "X-Pair-Flags"


@dataclass(frozen=True)
class Wish:
    """What the client wants: a media type, and which picture where the answer is one picture."""

    media_type: str
    view: View


@dataclass(frozen=True)
class Result:
    """What the network made of a pair, and all that is known of how."""

    prediction: Prediction
    prepared: Prepared
    runtime: Runtime
    rule: GainRule
    times: Times
    request_id: str
    stream: str | None


@dataclass(frozen=True)
class Answer:
    """Body and headers of a response."""

    body: bytes
    content_type: str
    condition: Condition
    times: Times

    def headers(self) -> dict[str, str]:
        """What a client may want to know without opening the body."""
        timing = ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in self.times.ms.items())
        flags = self.condition.flags
        return {"Server-Timing": timing} | ({FLAGS_HEADER: ", ".join(flags)} if flags else {})


@dataclass(frozen=True)
class Part:
    """One part of a multipart answer."""

    name: str
    filename: str
    content_type: str
    body: bytes


def encode(wish: Wish, result: Result) -> Answer:
    """Encode a result as wished; the report comes last, so that it knows all times."""
    if wish.media_type == MIXED:
        body, content_type = mixed(_parts(wish, result))
    else:
        with result.times.measure("encode"):
            body, content_type = _picture(wish.view, wish.media_type, result), wish.media_type
    return Answer(body, content_type, result.prepared.condition, result.times)


def describe(result: Result) -> Report:
    """Say how a result came about."""
    prepared, manifest = result.prepared, result.runtime.manifest
    covered = shares(result.prediction.labels, len(manifest.classes.names))
    return Report(
        request_id=result.request_id,
        visible=_size(prepared.visible_shape),
        infrared=_size(prepared.infrared_shape),
        pair=Fitness.model_validate(asdict(prepared.condition) | {"stream": result.stream}),
        alignment=prepared.alignment,
        rig=RigUse(**asdict(prepared.placed)) if prepared.placed else None,
        gain=_gain(result),
        classes=[
            ClassShare(id=id, name=name, share=round(share, 6))
            for id, (name, share) in enumerate(zip(manifest.classes.names, covered, strict=True))
        ],
        batch=result.times.batch,
        times_ms={stage: round(ms, 2) for stage, ms in result.times.ms.items()},
        engine=result.runtime.name,
        variant=manifest.variant,
        precision=manifest.precision,
        weights_sha256=manifest.sha256,
    )


def mixed(parts: list[Part]) -> tuple[bytes, str]:
    """Put parts into one multipart/mixed body (RFC 2046, section 5.1); also gives its type."""
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
    return b"".join(chunks), f"{MIXED}; boundary={boundary}"


def _parts(wish: Wish, result: Result) -> list[Part]:
    with result.times.measure("encode"):
        parts = [
            Part("fused", "fused.png", PNG, _picture("fused", PNG, result)),
            Part("mask", "mask.png", PNG, _picture("mask", PNG, result)),
        ]
        more = (
            [Part("overlay", "overlay.png", PNG, _picture("overlay", PNG, result))]
            if wish.view == "overlay"
            else []
        )
    report = describe(result).model_dump_json().encode()
    return [*parts, Part("report", "report.json", "application/json", report), *more]


def _picture(view: View, media_type: str, result: Result) -> bytes:
    prediction, taxonomy = result.prediction, result.runtime.manifest.classes
    if view == "mask":
        return images.encode_indexed_png(prediction.labels, taxonomy.palette)
    shown = prediction.fused
    if view == "overlay":
        shown = overlay(prediction.fused, prediction.labels, taxonomy)
    return images.encode_jpeg(shown) if media_type == JPEG else images.encode_png(shown)


def _size(shape: tuple[int, int] | None) -> Size | None:
    return Size(width=shape[1], height=shape[0]) if shape else None


def _gain(result: Result) -> Gain | None:
    window, rule = result.prepared.window, result.rule
    if not window:
        return None
    return Gain(
        method=rule.method,
        low=window.low,
        high=window.high,
        smoothing=rule.smoothing if result.stream else 0,
        clip_limit=rule.clip_limit if rule.method == "clahe" else None,
    )
