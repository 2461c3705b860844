"""The seam between a conversation and the far end that a person types and reads at.

A face brings a terminal (`ITerminal`) for each person; the connection under it is an `IWire`. The
conversation draws, asks and pages by these alone, and knows no protocol.
"""

from __future__ import annotations

from collections.abc import Iterator

from zope.interface import Attribute, Interface

from bbs.ui.gateway.editor import EditKey
from bbs.ui.gateway.encodings import Encoding


class IWire(Interface):
    """The connection under a terminal."""

    def write(data: bytes) -> None:
        """Send bytes, unless the connection has ended."""

    def close() -> None:
        """End the connection once all is sent."""

    def has_asked() -> None:
        """Note that the person has sent a line that is not blank."""

    def unread() -> bytes:
        """The bytes that have come and were not looked at."""


class ITerminal(Interface):
    """The far end of a conversation: where one person types and reads."""

    columns: int = Attribute("The columns of its window; 0 if it has not said.")
    rows: int = Attribute("The rows of its window; 0 if it has not said, and then lists are whole.")
    encoding: Encoding = Attribute("Its encoding, which the person may change.")
    edits_here: bool = Attribute(
        "Whether this side echoes keys and draws the line that is typed; else the far end does."
    )
    sends_keys: bool = Attribute(
        "Whether keys mean something in what comes; else it is whole lines, each before an LF."
    )
    is_pipe: bool = Attribute(
        "Whether a program may be at the far end. It is not asked for what it has sent already."
    )
    settled: bool = Attribute(
        "Whether the terminal has said what it is. A conversation begins then, or a second later."
    )
    refused: str = Attribute(
        "Words that end the conversation, as the far end misuses its protocol; else empty."
    )

    def receive(data: bytes) -> Iterator[bytes | EditKey]:
        """The text in the next bytes, in which LF ends a line, and the keys between that are no
        text. The caller consumes the iterator."""

    def write(text: str) -> None:
        """Send text, in which LF ends a line."""

    def hang_up() -> None:
        """End the connection once all is sent."""
