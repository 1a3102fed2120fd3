"""
What can go wrong between request and answer, without a word of HTTP.

`service.api.problems` gives each error its status and headers. The first sentence of a class is its
description in the OpenAPI document.
"""

from typing import ClassVar

from segmif.imaging.codecs import ImageError
from segmif.runtime.errors import SizeError


class ServiceError(Exception):
    """
    The service failed; its log says why.

    `detail` says what came and what was expected. `part` names the frame at fault. After
    `retry_s` seconds the same request may succeed.
    """

    kind: str = "internal"  # stable name, for programs
    sentence: ClassVar[str] = "the service failed; its log says why"  # if no detail is given

    def __init__(
        self, detail: str = "", *, part: str | None = None, retry_s: int | None = None
    ) -> None:
        super().__init__(detail or self.sentence)
        self.detail = detail or self.sentence
        self.part = part
        self.retry_s = retry_s

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}" if self.part else self.detail


# The head of a request


class ForeignHost(ServiceError):
    """The request names another host: a web page may have pointed that name at this machine."""

    kind = "foreign_host"


class ForeignOrigin(ServiceError):
    """The request comes from a page of another origin, which the operator has not allowed."""

    kind = "foreign_origin"


class CodedBody(ServiceError):
    """The body has a Content-Encoding, which the service does not decode."""

    kind = "coded_body"


class UpgradeNeeded(ServiceError):
    """The path speaks WebSocket, and the request does not ask for it."""

    kind = "upgrade_needed"
    sentence = (
        "this path speaks WebSocket (RFC 6455, version 13), but no valid 'Upgrade: websocket' came "
        "with the request; a proxy on the way may have dropped it: have it pass on Upgrade and "
        "Connection"
    )


class Unauthorized(ServiceError):
    """The operator's bearer token is missing or wrong."""

    kind = "unauthorized"
    sentence = "send the operator's token as 'Authorization: Bearer TOKEN'"


class TooManyGuesses(ServiceError):
    """Wrong tokens come from this address faster than they are answered."""

    kind = "too_many_guesses"


class NotAcceptable(ServiceError):
    """No form of the answer fits the Accept header."""

    kind = "not_acceptable"


class UnknownRig(ServiceError):
    """No rig of this name is read."""

    kind = "unknown_rig"
    sentence = "no rig of this name is read; GET /live lists them"


class UnknownModel(ServiceError):
    """This service holds one network, and not the one that was asked for."""

    kind = "unknown_model"


class UnknownRegion(ServiceError):
    """There is no region of shared memory of this name."""

    kind = "unknown_region"
    sentence = "there is no such region; regions unused for a minute may be gone"


class NoPair(ServiceError):
    """No pair of this stream is kept: none came, or newer streams took its place."""

    kind = "no_pair"


class PairsWithheld(ServiceError):
    """The operator does not hand out raw pairs."""

    kind = "pairs_withheld"
    sentence = "pairs are handed out only where the operator sets SEGMIF_HAND_OUT_PAIRS=true"


class RigKept(ServiceError):
    """The operator lets nobody change the rig file."""

    kind = "rig_kept"
    sentence = "a rig file is changed only where the operator sets SEGMIF_SAVE_RIG=true"


class RigChanged(ServiceError):
    """There is no rig file to change, or it is no longer the one that was read."""

    kind = "rig_changed"


class RigNotWritten(ServiceError):
    """The rig file, or the copy of the old one, cannot be written."""

    kind = "rig_not_written"


# The body of a request


class BodyTooLarge(ServiceError):
    """The body has more bytes than the service reads."""

    kind = "body_too_large"


class BodyTooSlow(ServiceError):
    """The body came too slowly, or stopped coming."""

    kind = "body_too_slow"


class BadForm(ServiceError):
    """The form cannot be read, or has parts that it should not have."""

    kind = "bad_form"


class MissingPart(BadForm):
    """The form lacks a frame."""

    kind = "missing_part"


class BadWire(ServiceError):
    """A raw body or message does not follow docs/wire.md."""

    kind = "bad_wire"


class BadParameter(ServiceError):
    """A parameter has a value that it cannot have."""

    kind = "bad_parameter"


# The pair


class BadFrame(ServiceError):
    """A frame is empty, damaged, or has the wrong channels or depth."""

    kind = "damaged"

    def __init__(self, part: str, error: ImageError) -> None:
        super().__init__(str(error), part=part)
        self.kind = error.kind  # of its fault


class UnknownType(BadFrame):
    """A frame is no JPEG, PNG or TIFF."""

    kind = "unsupported_type"


class FrameTooLarge(BadFrame):
    """A frame has more pixels than the service accepts."""

    kind = "too_large"


class BadPair(ServiceError):
    """The proportions of infrared and visible differ too much for one pair."""

    kind = "bad_pair"


class Degraded(BadPair):
    """A sensor shows nothing of use, or the frames are of different moments; policy `refuse`."""

    kind = "degraded"


class UnfitSize(ServiceError):
    """The network was built for smaller or larger frames; the detail says for which."""

    kind = "unfit_size"


# The queue and the network


class Busy(ServiceError):
    """As many pairs as allowed are waiting already; Retry-After says when to try again."""

    kind = "busy"


class TooManyOfOne(ServiceError):
    """This client has as many pairs in work as one may; Retry-After says when to try again."""

    kind = "too_many_of_one"


class CannotFinish(ServiceError):
    """The answer could not be ready by the deadline; Retry-After says when it might."""

    kind = "cannot_finish"


class DeadlineMissed(ServiceError):
    """The deadline passed while the pair was decoded or waited for the network."""

    kind = "deadline_missed"
    sentence = "the deadline passed before the answer was ready"


class Superseded(ServiceError):
    """A newer pair of the same live stream replaced this one."""

    kind = "superseded"
    sentence = "a newer pair of this live stream came before the network"


class NotReady(ServiceError):
    """The network has not passed its self-test; the detail says why."""

    kind = "not_ready"


class OutOfMemory(ServiceError):
    """The operator's bound on memory leaves no room for the pair just now."""

    kind = "out_of_memory"
    sentence = "there is no memory for it now; try again, or with smaller frames"


class NoSharedMemory(ServiceError):
    """The shared memory of this machine has no room for a region."""

    kind = "no_shared_memory"


class EngineFailed(ServiceError):
    """The network gave no result."""

    kind = "engine_failed"
    sentence = "the network gave no result; the log says why"


def out_of_memory() -> OutOfMemory:
    """The error if memory was refused."""
    return OutOfMemory(retry_s=1)


def unfit_size(shape: tuple[int, ...], error: SizeError) -> UnfitSize:
    """The error for a pair of that shape (H, W) which a runtime was not built for."""
    return UnfitSize(f"a pair of {shape[1]}x{shape[0]} does not fit: {error}")


def network_error(error: Exception, shape: tuple[int, ...], detail: str = "") -> ServiceError:
    """
    The error for a pair of that shape (H, W) whose network raised `error`, which is its cause.

    `detail` is for an engine's failure. What engines say may hold secrets, and is not for clients.
    """
    if isinstance(error, OutOfMemory):
        return error
    refusal: ServiceError = EngineFailed(detail)
    if isinstance(error, MemoryError):
        refusal = out_of_memory()
    if isinstance(error, SizeError):
        refusal = unfit_size(shape, error)
    refusal.__cause__ = error
    return refusal


def bad_frame(part: str, error: ImageError) -> BadFrame:
    """The error for the part ("visible" or "infrared") whose image has this fault."""
    kinds = {"unsupported_type": UnknownType, "too_large": FrameTooLarge}
    return kinds.get(error.kind, BadFrame)(part, error)
