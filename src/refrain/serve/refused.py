"""Requests that are not answered: the status, and the JSON that names cause and remedy."""

from typing import Any

from refrain.errors import UserError, shown

from .limits import Limits

CODES = {
    400: "invalid_json",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected_request",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "stopping",
}
"""HTTP status -> the code of errors for which no other is given."""


class Refused(UserError):
    """A request that is not answered.

    Args:
        status: the HTTP status.
        message: the cause and the remedy.
        code: a word for programs; the default is that of the status.
        field: the field of the request that is wrong.
        headers: further headers of the response.

    Attributes:
        status: the HTTP status.
        code: a word for programs.
        field: the field of the request that is wrong.
        headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or CODES[status]
        self.field = field
        self.headers = headers or {}

    def document(self) -> dict[str, Any]:
        """The body of the response, of the form that clients of OpenAI's interface read."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.field, "code": self.code}}


def refused_by(error: BaseException) -> Refused:
    """The refusal for an error that was raised while a request was answered.

    Args:
        error: an error of the library that the client can correct, or any other.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, FloatingPointError):
        return Refused(500, f"{error}; serve another checkpoint")
    if isinstance(error, ValueError):
        return Refused(422, str(error))
    return Refused(500, f"the server failed with {shown(type(error).__name__)}; its log has the cause")


def too_slow(limits: Limits) -> Refused:
    """The error of a request that takes too long."""
    return Refused(
        408,
        f"the request took longer than {limits.request_seconds:g} s; send less text or ask for fewer tokens, or raise "
        "--request-seconds",
    )


def stopping() -> Refused:
    """The error of a request that comes, or is in work, when the server stops."""
    return Refused(503, "the server stops; try again when it has started", headers={"Retry-After": "5"})
