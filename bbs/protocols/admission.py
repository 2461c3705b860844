"""Who is let in: what the ports of a server ask before they make a connection.

`bbs.limits.connections` counts; the protocols know no more of it than this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Entry(Protocol):
    """One connection that was let in."""

    def watch(self, end: Callable[[], None]) -> None:
        """It has asked nothing yet; `end` is called if room is needed before it has."""

    def has_asked(self) -> None:
        """It is somebody who wants something."""

    def vouch(self) -> None:
        """It is trusted, and not counted by its address from now on."""

    def leave(self) -> None:
        """The connection has ended. Called once."""


class Door(Protocol):
    """One kind of port of a process."""

    @property
    def is_jammed(self) -> bool:
        """Whether there is not even room for a connection that is told so and closed."""

    def enter(self, host: str, descriptors: int = 1) -> Entry | None:
        """A connection from `host` (in its usual form, "" where there is none), which takes so many
        descriptors in all; None where that is one too many."""


class _Welcome:
    def watch(self, end: Callable[[], None]) -> None: ...
    def has_asked(self) -> None: ...
    def vouch(self) -> None: ...
    def leave(self) -> None: ...


class OpenDoor:
    """Lets everybody in: for tests, and for whoever counts nobody."""

    is_jammed = False

    def enter(self, host: str, descriptors: int = 1) -> Entry:
        return _WELCOME


_WELCOME = _Welcome()
