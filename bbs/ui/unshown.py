"""The lines of lists that a person left before they were shown.

`posts` gives what is unread once: the service counts it as read then. A person who leaves such a
list at `-- more --` has not seen the rest, so the next `posts` begins with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.ui.output import visible

MOST_KEPT = 10_000  # of the latest lines of each command

Line = TypeVar("Line")


@dataclass(slots=True, eq=False, repr=False)
class UnshownLines(Generic[Line]):
    """The unshown lines of one terminal, for each command as its user typed it. Nothing is kept of
    a `harmless` command, which gives the same list again."""

    _kept: dict[tuple[str, ...], Sequence[Line]] = field(default_factory=dict)

    def before(
        self, request: ClientRequest, reply: ServiceReply, lines: Sequence[Line]
    ) -> Sequence[Line]:
        """The lines to show for a reply: those that were kept, and then those of the reply, unless
        they only say that its list is empty. The kept ones are forgotten."""
        kept = self._kept.pop(_key(request), ()) if reply.ok else ()
        is_empty = reply.list_name is not None and not reply.lists[reply.list_name]
        return kept if kept and is_empty else [*kept, *lines]

    def keep(self, request: ClientRequest, lines: Sequence[Line]) -> str:
        """Keep lines that the person left; returns what to say of it, empty if none are kept."""
        if request.harmless or not lines:
            return ""
        name, *arguments = _key(request)
        self._kept[name, *arguments] = lines[-MOST_KEPT:]
        typed = " ".join([name, *arguments[request.takes_user :]])
        return f"Lines that are not shown yet: {len(lines):,}. Type: {visible(typed.rstrip())}"


def _key(request: ClientRequest) -> tuple[str, ...]:
    """What the person typed, and for whom."""
    return (*request.words, request.text)
