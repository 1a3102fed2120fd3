"""
What can go wrong between request and answer, and what the caller is told (RFC 9457, problem+json).

* ServiceError
  - BadForm            422
    - MissingPart      422
  - BadParameter       422
  - BadFrame           422
    - UnknownType      415
    - FrameTooLarge    413
  - BadPair            422
    - Degraded         422
  - BodyTooLarge       413
  - NotAcceptable      406
  - Superseded         409
  - TooManyOfOne       429  with Retry-After
  - Busy               503  with Retry-After
  - CannotFinish       503  with Retry-After
  - DeadlineMissed     503  with Retry-After
  - NotReady           503  with Retry-After
  - EngineFailed       500

The sentence of each class is what the OpenAPI document says about it.
"""

from http import HTTPStatus
from typing import Any, ClassVar

from starlette.exceptions import HTTPException

from segmif.images import ImageError

PROBLEM_TYPE = "application/problem+json"


class ServiceError(HTTPException):
    """
    An error with a sentence for the caller.

    It is an HTTPException because FastAPI lets only those through from reading a form.
    """

    status: ClassVar[int] = 500
    kind: str = "internal"

    def __init__(self, detail: str, *, part: str | None = None, retry_s: int | None = None) -> None:
        headers = None if retry_s is None else {"Retry-After": str(retry_s)}
        super().__init__(self.status, detail, headers)
        self.part = part

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}" if self.part else self.detail


class BadForm(ServiceError):
    """The form cannot be read, or has parts that it should not have."""

    status = 422
    kind = "bad_form"


class MissingPart(BadForm):
    """The form lacks a frame."""

    kind = "missing_part"


class BadParameter(ServiceError):
    """A parameter has a value that it cannot have."""

    status = 422
    kind = "bad_parameter"


class BadFrame(ServiceError):
    """A frame is empty, damaged, or has the wrong channels or depth."""

    status = 422

    def __init__(self, part: str, error: ImageError) -> None:
        super().__init__(str(error), part=part)
        self.kind = error.kind


class UnknownType(BadFrame):
    """A frame is no JPEG, PNG or TIFF."""

    status = 415


class FrameTooLarge(BadFrame):
    """A frame has more pixels than the service takes."""

    status = 413


class BadPair(ServiceError):
    """Infrared and visible have proportions too different for one moment's pair."""

    status = 422
    kind = "bad_pair"


class Degraded(BadPair):
    """A sensor gives nothing of use, or the frames are of different moments; policy `refuse`."""

    kind = "degraded"


class BodyTooLarge(ServiceError):
    """The body has more bytes than the service reads."""

    status = 413
    kind = "body_too_large"


class NotAcceptable(ServiceError):
    """No form of the answer fits the Accept header."""

    status = 406
    kind = "not_acceptable"


class Busy(ServiceError):
    """As many pairs as allowed are waiting already; Retry-After says when to try again."""

    status = 503
    kind = "busy"


class TooManyOfOne(ServiceError):
    """This client has as many pairs in work as one may; Retry-After says when to try again."""

    status = 429
    kind = "too_many_of_one"


class CannotFinish(ServiceError):
    """The answer could not be ready by the deadline; Retry-After says when it might."""

    status = 503
    kind = "cannot_finish"


class DeadlineMissed(ServiceError):
    """The deadline passed while the pair waited for the network."""

    status = 503
    kind = "deadline_missed"


class Superseded(ServiceError):
    """A newer pair of the same live stream took this one's place."""

    status = 409
    kind = "superseded"


class NotReady(ServiceError):
    """The network has not proven itself on the golden pair; the detail says why."""

    status = 503
    kind = "not_ready"


class EngineFailed(ServiceError):
    """The network gave no result."""

    status = 500
    kind = "engine_failed"


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
