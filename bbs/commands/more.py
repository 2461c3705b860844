"""The command by which a client gets what did not fit into a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps

from bbs.protocols.commands import Command, Role
from bbs.rules.callers import Caller
from bbs.rules.costs import costs
from bbs.rules.cursors import Continuation, CursorExpired, Cursors
from bbs.rules.pages import FIRST, Page, Part, part_of
from bbs.storage.database import is_read_only, long_read

MORE = "more <user> <cursor>"


class LongLists:
    """The commands of a service whose lists come in parts.

    :param secret: as in `Cursors`.
    """

    def __init__(self, secret: bytes) -> None:
        self._cursors = Cursors(secret)
        self._lists: dict[str, tuple[Command, Callable[..., Part]]] = {}

    def known(self, command: Command) -> Command:
        """`command`; one whose rule is paged now tells the cursor of what follows.

        :raises ValueError: its rule is paged, and does not say that it only reads.
        """
        part, rule = part_of(command.rule), command.rule
        if part is None or rule is None:
            return command
        if not is_read_only(rule):
            raise ValueError(f"the rule of {command.name} is paged, so it is to be read_only too")
        name, tell = command.name, self._tell
        self._lists[name] = command, part

        @wraps(rule)
        def first(caller: Caller, *arguments: str) -> Part:
            return tell(caller, name, arguments, part(caller, FIRST, *arguments))

        return replace(command, rule=first)

    def more(self) -> Command:
        """The command that answers with what follows."""

        # It may be any of the lists, and there are long ones among them.
        @costs(commands=Part.price)
        @long_read
        def more(caller: Caller, cursor: str) -> Part:
            where = self._cursors.read(caller.id, cursor, caller.now)
            command, part = self._lists.get(where.command, (None, None))
            count = len(where.arguments)
            if not command or not part or not command.minimum <= count <= command.maximum:
                raise CursorExpired()  # A server of another version wrote it.
            found = part(caller, Page(where.last), *where.arguments)
            return self._tell(caller, where.command, where.arguments, found)

        return Command(MORE, Role.EITHER, rule=more, listed=False, harmless=True)

    def _tell(self, caller: Caller, name: str, arguments: Sequence[str], part: Part) -> Part:
        if part.last is not None:
            where = Continuation(name, arguments, part.last)
            part["more"] = self._cursors.write(caller.id, where, caller.now)
        return part
