"""Errors as HTTP has them: status and headers, as problem+json (RFC 9457)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from .. import errors
from ..errors import ServiceError

PROBLEM_TYPE = "application/problem+json"
CLOSE = {"Connection": "close"}  # the rest of the body stays unread


@dataclass(frozen=True)
class ProblemType:
    """How one class of errors is answered."""

    status: int
    example: str = ""  # of a detail; empty: the sentence of the class
    headers: Mapping[str, str] = field(default_factory=dict)


PROBLEM_TYPES: Mapping[type[ServiceError], ProblemType] = {
    ServiceError: ProblemType(500),
    errors.ForeignHost: ProblemType(
        403,
        "the request is for the host 'evil.example', which is none of this service's; ask for "
        "localhost, or allow the name with SEGMIF_ALLOWED_HOSTS",
    ),
    errors.ForeignOrigin: ProblemType(
        403,
        "a page of the origin 'https://evil.example' asks, this service is 'localhost:8000'; "
        "allow it with SEGMIF_ALLOWED_ORIGINS",
    ),
    errors.CodedBody: ProblemType(
        415,
        "the body is coded as 'gzip'; send it as it is, without Content-Encoding: the frames in "
        "it are compressed already",
        {"Accept-Encoding": "identity"},  # RFC 9110, section 15.5.16
    ),
    errors.UpgradeNeeded: ProblemType(
        426,
        headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
    ),
    errors.Unauthorized: ProblemType(401, headers={"WWW-Authenticate": "Bearer"}),
    errors.TooManyGuesses: ProblemType(
        429, "16 wrong tokens of this address wait for their answer; try again"
    ),
    errors.NotAcceptable: ProblemType(
        406,
        "the answer can be multipart/mixed, image/png, image/jpeg; Accept was 'text/html'",
    ),
    errors.UnknownModel: ProblemType(404, "there is no model 'resnet' here, only 'nano'"),
    errors.UnknownRig: ProblemType(404),
    errors.UnknownRegion: ProblemType(404),
    errors.NoPair: ProblemType(
        404, "no pair of a stream 'rig' is kept; send some with ?stream=rig"
    ),
    errors.PairsWithheld: ProblemType(403),
    errors.RigKept: ProblemType(403),
    errors.RigChanged: ProblemType(
        409, "rig.yaml is no longer the file that was read: reload it first"
    ),
    errors.RigNotWritten: ProblemType(507, "rig.yaml cannot be written: Read-only file system"),
    errors.BodyTooLarge: ProblemType(
        413,
        "a body of at least 64,000,000 bytes; at most 33,554,432 are read",
        CLOSE,
    ),
    errors.BodyTooSlow: ProblemType(
        408,
        "the body is not whole; 5 s without a byte and 30 s in all are waited",
        CLOSE,
    ),
    errors.BadForm: ProblemType(422, "the form breaks off before its closing boundary"),
    errors.MissingPart: ProblemType(
        422,
        "no file of this name in the form; send the two files 'visible' and 'infrared', "
        "or say with ?sensors= which one there is",
    ),
    errors.BadWire: ProblemType(
        422, "the header announces 921600 and 307200 bytes of frames, 1000 came"
    ),
    errors.BadParameter: ProblemType(422, "parameter 'depth_m': Input should be greater than 0"),
    errors.BadFrame: ProblemType(422, "the PNG cannot be decoded: it is damaged"),
    errors.UnknownType: ProblemType(
        415,
        "the 431 bytes are not an image of a known type; send JPEG, PNG or TIFF",
    ),
    errors.FrameTooLarge: ProblemType(
        413, "the image is 20000x20000, at most 4,000,000 pixels are taken"
    ),
    errors.BadPair: ProblemType(
        422,
        "visible is 640x480, infrared 160x160: with sides in so different proportions "
        "they cannot be one pair; crop both to the same view",
    ),
    errors.Degraded: ProblemType(
        422, "the pair is not whole: infrared_shutter; degraded=flag takes it, marked"
    ),
    errors.UnfitSize: ProblemType(
        422,
        "a pair of 1920x1080 does not fit: frames of batch 1, 1088x1920: this engine takes "
        "batch 1 to 8, height 32 to 1024, width 32 to 1280; give it such, or build it for others "
        "(--batch, --height, --width)",
    ),
    errors.Busy: ProblemType(503, "16 pairs are in work already; try again"),
    errors.TooManyOfOne: ProblemType(
        429,
        "4 pairs of this client are in work already, which is all it may have",
    ),
    errors.CannotFinish: ProblemType(
        503,
        "7 pairs are before this one: it would take 540 ms, and 100 are left",
    ),
    errors.DeadlineMissed: ProblemType(503, "the deadline passed before the network was free"),
    errors.Superseded: ProblemType(409),
    errors.NotReady: ProblemType(503, "the golden pair has not come through yet"),
    errors.OutOfMemory: ProblemType(503),
    errors.NoSharedMemory: ProblemType(
        507,
        "a region of 67,108,864 bytes has no room in /dev/shm (60,000,000 are free for it): free "
        "regions, or give it more (docker run --shm-size)",
    ),
    errors.EngineFailed: ProblemType(500),
}

# Errors that every path can answer with.
OF_EVERY_PATH = (errors.ForeignHost, errors.ForeignOrigin, errors.CodedBody)

# Errors that every entry point for pairs can answer with.
OF_A_PAIR = (
    errors.BadWire,
    errors.BadParameter,
    errors.BadFrame,
    errors.BadPair,
    errors.Degraded,
    errors.UnfitSize,
    errors.FrameTooLarge,
    errors.BodyTooLarge,
    errors.BodyTooSlow,
    errors.Unauthorized,
    errors.TooManyOfOne,
    errors.Busy,
    errors.CannotFinish,
    errors.DeadlineMissed,
    errors.OutOfMemory,
    errors.EngineFailed,
    ServiceError,
)


def problem(error: ServiceError | HTTPException, request_id: str) -> dict[str, Any]:
    """The fields of `schemas.Problem`; without a `type`, the title is that of the status."""
    if isinstance(error, HTTPException):  # the framework's
        status, kind, part = error.status_code, "http", None
    else:
        status, kind, part = PROBLEM_TYPES[type(error)].status, error.kind, error.part
    fields = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "kind": kind,
        "part": part,
        "request_id": request_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


def problem_response(request: HTTPConnection, error: ServiceError | HTTPException) -> JSONResponse:
    """Answer with an error, ours or the framework's, as problem+json; notes the outcome."""
    fields = problem(error, request.state.request_id)
    request.state.outcome = fields["kind"]
    if request.scope["path"].startswith("/v2"):  # `url` needs a valid Host
        fields["error"] = fields["detail"]  # clients of the Open Inference Protocol read this one
    return JSONResponse(fields, fields["status"], _headers(error), media_type=PROBLEM_TYPE)


def _headers(error: ServiceError | HTTPException) -> Mapping[str, str] | None:
    if isinstance(error, HTTPException):
        return error.headers
    retry = {} if error.retry_s is None else {"Retry-After": str(error.retry_s)}
    return {**PROBLEM_TYPES[type(error)].headers, **retry}
