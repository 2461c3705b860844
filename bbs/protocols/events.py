"""Events: what a service tells connections that listen, each declared once.

    MOVED = Event("moved", Moved, shown=Line("{piece} to {square}"))

The record is a dataclass with the event's members (`bbs.protocols.reply_types`), but its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from bbs.core.values import RESERVED_EVENTS
from bbs.protocols.forms import Line
from bbs.protocols.presentation import ChatEvent
from bbs.protocols.reply_types import records


@dataclass(frozen=True)
class Event:
    """One event, as its declaration says.

    :param name: its member `event`.
    :param record: a dataclass that describes its other members. Tests and `up --debug` compare with
        it what handlers tell.
    :param shown: the form in which people read it, or several forms: by the member (not null) that
        an event must have for the form, and `""` for any other. Without one, people read its member
        `text`.
    :param chat: it brings a message; then it has no form.
    :raises ValueError: a parameter is malformed, or the name is the framework's own.
    """

    name: str
    record: type[Any] | None = None
    _: KW_ONLY
    shown: Line | Mapping[str, Line] | None = None
    chat: ChatEvent | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or " " in self.name:
            raise ValueError(f"{self.name!r} is not a name of an event")
        if self.name in RESERVED_EVENTS:
            raise ValueError(f"event {self.name}: that event is the framework's own")
        if self.chat is not None and (self.shown is not None or self.chat.event != self.name):
            raise ValueError(f"event {self.name}: chat is of another event, or shown is given, too")
        if self.record is not None:
            try:
                records(self.record)
            except ValueError as error:
                raise ValueError(f"event {self.name}: {error}") from error

    @property
    def forms(self) -> Mapping[str, Line]:
        """Its forms, as a `Presentation` has them: by its name, or by name and member."""
        if self.shown is None:
            return {}
        if isinstance(self.shown, Line):
            return {self.name: self.shown}
        return {f"{self.name} {member}".rstrip(): line for member, line in self.shown.items()}
