"""What the line protocol itself refuses, whoever serves by it, and how any refusal is told."""

from __future__ import annotations

from bbs.errors import Refusal
from bbs.protocols.line.interfaces import Reply


class LineTooLong(Refusal):
    """A line is longer than `max_line`."""

    text = "Line too long"


class InvalidUTF8(Refusal):
    """A line is no text."""

    text = "Invalid UTF-8"
    code = "invalid-utf-8"


def refusal(error: Refusal, *, close: bool = False) -> Reply:
    """The reply that says what cannot be done, and why."""
    return Reply({"status": 1, "message": error.message, "code": error.code}, close=close)


TOO_LONG = refusal(LineTooLong(), close=True)
