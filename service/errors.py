"""
What can go wrong between request and answer, and what the caller is told (RFC 9457, problem+json).

* ServiceError
  - UnknownModel       404
  - UnknownRegion      404
  - BadForm            422
    - MissingPart      422
  - BadWire            422
  - BadParameter       422
  - BadFrame           422
    - UnknownType      415
    - FrameTooLarge    413
  - BadPair            422
    - Degraded         422
  - UnfitSize          422
  - BodyTooLarge       413
  - BodyTooSlow        408
  - Unauthorized       401
  - NotAcceptable      406
  - Superseded         409
  - TooManyOfOne       429  with Retry-After
  - Busy               503  with Retry-After
  - CannotFinish       503  with Retry-After
  - DeadlineMissed     503  with Retry-After
  - OutOfMemory        503  with Retry-After
  - NotReady           503  with Retry-After
  - EngineFailed       500
  - NoSharedMemory     507

Errors of a request's head stand in `service.server.rejections`, those of the pairs of streams in
`service.api.latest_pair`.
The sentence of each class is what the OpenAPI document says about it.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from segmif.imaging.codecs import ImageError
from segmif.runtime.errors import SizeError

PROBLEM_TYPE = "application/problem+json"
CLOSE = MappingProxyType({"Connection": "close"})  # the rest of the body stays unread


class ServiceError(HTTPException):
    """
    An error with a sentence for the caller.

    It is an HTTPException because FastAPI lets only those through from reading a form.
    """

    status: ClassVar[int] = 500
    kind: str = "internal"
    example: ClassVar[str] = "the service failed; its log says why"
    fixed_headers: ClassVar[Mapping[str, str]] = {}  # of every answer with this error

    def __init__(self, detail: str, *, part: str | None = None, retry_s: int | None = None) -> None:
        headers = dict(self.fixed_headers)
        if retry_s is not None:
            headers["Retry-After"] = str(retry_s)
        super().__init__(self.status, detail, headers or None)
        self.part = part

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}" if self.part else self.detail


class BadForm(ServiceError):
    """The form cannot be read, or has parts that it should not have."""

    status = 422
    kind = "bad_form"
    example = "the form breaks off before its closing boundary"


class MissingPart(BadForm):
    """The form lacks a frame."""

    kind = "missing_part"
    example = (
        "no file of this name in the form; send the two files 'visible' and 'infrared', "
        "or say with ?sensors= which one there is"
    )


class BadWire(ServiceError):
    """A raw body or message is not as docs/wire.md has it."""

    status = 422
    kind = "bad_wire"
    example = "the header announces 921600 and 307200 bytes of frames, 1000 came"


class BadParameter(ServiceError):
    """A parameter has a value that it cannot have."""

    status = 422
    kind = "bad_parameter"
    example = "parameter 'depth_m': Input should be greater than 0"


class BadFrame(ServiceError):
    """A frame is empty, damaged, or has the wrong channels or depth."""

    status = 422
    kind = "damaged"
    example = "the PNG cannot be decoded: it is damaged"

    def __init__(self, part: str, error: ImageError) -> None:
        super().__init__(str(error), part=part)
        self.kind = error.kind


class UnknownModel(ServiceError):
    """This service holds one network, and not the one asked for."""

    status = 404
    kind = "unknown_model"
    example = "there is no model 'resnet' here, only 'nano'"


class UnknownRegion(ServiceError):
    """There is no region of shared memory of this name."""

    status = 404
    kind = "unknown_region"
    example = "there is no such region; regions unused for a minute may be gone"


class UnknownType(BadFrame):
    """A frame is no JPEG, PNG or TIFF."""

    status = 415
    kind = "unsupported_type"
    example = "the 431 bytes are not an image of a known type; send JPEG, PNG or TIFF"


class FrameTooLarge(BadFrame):
    """A frame has more pixels than the service takes."""

    status = 413
    kind = "too_large"
    example = "the image is 20000x20000, at most 4,000,000 pixels are taken"


class BadPair(ServiceError):
    """Infrared and visible have proportions too different for one moment's pair."""

    status = 422
    kind = "bad_pair"
    example = (
        "visible is 640x480, infrared 160x160: with sides in so different proportions "
        "they cannot be one pair; crop both to the same view"
    )


class Degraded(BadPair):
    """A sensor gives nothing of use, or the frames are of different moments; policy `refuse`."""

    kind = "degraded"
    example = "the pair is not whole: infrared_shutter; degraded=flag takes it, marked"


class UnfitSize(ServiceError):
    """The network was built for smaller or larger frames; the detail says which it takes."""

    status = 422
    kind = "unfit_size"
    example = (
        "a pair of 1920x1080 does not fit: frames of batch 1, 1088x1920: this engine takes "
        "batch 1 to 8, height 32 to 1024, width 32 to 1280; give it such, or build it for others "
        "(--batch, --height, --width)"
    )


class BodyTooLarge(ServiceError):
    """The body has more bytes than the service reads."""

    status = 413
    kind = "body_too_large"
    fixed_headers = CLOSE
    example = "a body of at least 64,000,000 bytes; at most 33,554,432 are read"


class BodyTooSlow(ServiceError):
    """The body came too slowly, or stopped coming."""

    status = 408
    kind = "body_too_slow"
    fixed_headers = CLOSE
    example = "the body is not whole; 5 s without a byte and 30 s in all are waited"


class Unauthorized(ServiceError):
    """The operator's bearer token is missing or wrong."""

    status = 401
    kind = "unauthorized"
    fixed_headers = MappingProxyType({"WWW-Authenticate": "Bearer"})
    example = "send the operator's token as 'Authorization: Bearer TOKEN'"


class NotAcceptable(ServiceError):
    """No form of the answer fits the Accept header."""

    status = 406
    kind = "not_acceptable"
    example = "the answer can be multipart/mixed, image/png, image/jpeg; Accept was 'text/html'"


class Busy(ServiceError):
    """As many pairs as allowed are waiting already; Retry-After says when to try again."""

    status = 503
    kind = "busy"
    example = "16 pairs are in work already; try again"


class TooManyOfOne(ServiceError):
    """This client has as many pairs in work as one may; Retry-After says when to try again."""

    status = 429
    kind = "too_many_of_one"
    example = "4 pairs of this client are in work already, which is all it may have"


class CannotFinish(ServiceError):
    """The answer could not be ready by the deadline; Retry-After says when it might."""

    status = 503
    kind = "cannot_finish"
    example = "7 pairs are before this one: it would take 540 ms, and 100 are left"


class DeadlineMissed(ServiceError):
    """The deadline passed while the pair was decoded or waited for the network."""

    status = 503
    kind = "deadline_missed"
    example = "the deadline passed before the network was free"


class Superseded(ServiceError):
    """A newer pair of the same live stream took this one's place."""

    status = 409
    kind = "superseded"
    example = "a newer pair of this live stream came before the network"


class NotReady(ServiceError):
    """The network has not proven itself on the golden pair; the detail says why."""

    status = 503
    kind = "not_ready"
    example = "the golden pair has not come through yet"


class OutOfMemory(ServiceError):
    """The operator's bound on memory leaves no room for the pair just now."""

    status = 503
    kind = "out_of_memory"
    example = "there is no memory for it now; try again, or with smaller frames"


class NoSharedMemory(ServiceError):
    """The shared memory of this machine has no room for a region."""

    status = 507
    kind = "no_shared_memory"
    example = (
        "a region of 67,108,864 bytes has no room in /dev/shm (60,000,000 are free for it): free "
        "regions, or give it more (docker run --shm-size)"
    )


class EngineFailed(ServiceError):
    """The network gave no result."""

    status = 500
    kind = "engine_failed"
    example = "the network gave no result; the log says why"


# that may be met on every way in and out of the network
OF_A_PAIR = (
    BadWire,
    BadParameter,
    BadFrame,
    BadPair,
    Degraded,
    UnfitSize,
    FrameTooLarge,
    BodyTooLarge,
    BodyTooSlow,
    Unauthorized,
    TooManyOfOne,
    Busy,
    CannotFinish,
    DeadlineMissed,
    OutOfMemory,
    EngineFailed,
    ServiceError,
)


def out_of_memory() -> OutOfMemory:
    """The error where memory was refused."""
    return OutOfMemory(OutOfMemory.example, retry_s=1)


def unfit(shape: tuple[int, ...], error: SizeError) -> UnfitSize:
    """The error for a pair of that shape (H, W) which a runtime was not built for."""
    return UnfitSize(f"a pair of {shape[1]}x{shape[0]} does not fit: {error}")


def bad_frame(part: str, error: ImageError) -> BadFrame:
    """Turn what is wrong with an image into the error for the part that it came as."""
    kinds = {"unsupported_type": UnknownType, "too_large": FrameTooLarge}
    return kinds.get(error.kind, BadFrame)(part, error)


def problem(error: HTTPException, request_id: str) -> dict[str, Any]:
    """The fields of `schemas.Problem`; without a `type`, the title is that of the status."""
    fields = {
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": error.detail,
        "kind": getattr(error, "kind", "http"),
        "part": getattr(error, "part", None),
        "request_id": request_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


def problem_response(request: HTTPConnection, error: HTTPException) -> JSONResponse:
    """Answer with an HTTPException, ours or the framework's, as problem+json; notes the outcome."""
    told = problem(error, request.state.request_id)
    request.state.outcome = told["kind"]
    if request.scope["path"].startswith("/v2"):  # `url` needs a Host that is one
        told["error"] = told["detail"]  # where clients of the Open Inference Protocol look
    return JSONResponse(told, error.status_code, error.headers, media_type=PROBLEM_TYPE)
