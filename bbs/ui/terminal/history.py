"""Lines typed before, for the arrow keys, kept from one day to the next.

They are in a file for its owner's eyes alone, without passwords. Reading it happens once, before
the reactor runs; writing on a thread of its own. A file that cannot be had is said once, and
history then lasts as long as the client.

What is said in a talk is no command: it is in no file, and the arrow keys bring it back in that
talk only, for as long as the client runs. A command of another time is not among it either: Enter
would say it to somebody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import (
    AsyncGenerator,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path

from prompt_toolkit import history
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bbs.ui.process import state_file
from bbs.ui.prompts import without_password
from bbs.ui.terminal.interfaces import IHistoryOwner, InputContext

KEPT = 1000
"""Lines that the file is cut down to when a client starts; a shell keeps as many."""

MOST_READ = 4 * 1024 * 1024
"""Bytes from the end of the file that are looked at; lines may be long."""


def history_path(environ: Mapping[str, str]) -> Path:
    """Where the history is."""
    return state_file(environ, "history")


def not_kept(problem: OSError) -> str:
    """That there will be no history another day, and why, in words."""
    return f"What you type is not kept for another day: {problem.strerror or problem}"


class HistoryFile:
    """The file at `path`. Its methods block, and raise OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[str]:
        """The lines kept, oldest first; a file that has grown past them is cut down."""
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return []  # /dev/null, for somebody who wants none
            if status.st_uid == os.geteuid():
                os.fchmod(file.fileno(), 0o600)
            end = file.seek(0, os.SEEK_END)
            begin = file.seek(max(0, end - MOST_READ))
            lines = file.read().split(b"\n")
        # The first of those that were cut out of the middle may lack its beginning.
        lines = [line for line in lines[1 if begin else 0 :] if line]
        if begin or len(lines) > KEPT:
            lines = lines[-KEPT:]
            self._replace(lines)
        return [line.decode("utf-8", "replace") for line in lines]

    def _replace(self, lines: Iterable[bytes]) -> None:
        # Another client may add to the file meanwhile: it loses a line, never the file.
        path = self._path.resolve()  # a link to a file elsewhere stays one
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(line + b"\n" for line in lines)
        os.replace(new, path)

    def add(self, lines: Sequence[str]) -> None:
        """Append lines, in one write, so that two clients do not mix theirs."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        finally:
            os.close(file)


class History(history.History):
    """What the arrow keys go through: `lines` from before, and what is typed now.

    `keep` writes lines away for another day; `owner` hears, once, when that fails.
    """

    def __init__(
        self,
        lines: Sequence[str],
        keep: Callable[[Sequence[str]], Deferred[None]] | None,
        owner: IHistoryOwner,
    ) -> None:
        super().__init__()
        self._typed = [(InputContext(), line) for line in lines]
        self._keep = keep
        self._owner = owner

    @property
    def talk(self) -> Hashable:
        """In which talk what is typed now would be; None for none."""
        return self._owner.context("", False).talk

    # prompt_toolkit's History

    def load_history_strings(self) -> Iterator[str]:
        talk, last = self.talk, None
        for place, line in reversed(self._typed):
            here = place.talk == talk if talk is not None else not place.said
            if here and line != last:
                last = line
                yield line

    async def load(self) -> AsyncGenerator[str, None]:
        for line in self.load_history_strings():
            yield line

    def get_strings(self) -> list[str]:
        return [*self.load_history_strings()][::-1]

    def store_string(self, string: str) -> None:
        """By `append_string`, which has more of them."""

    def append_string(self, string: str) -> None:
        lines, new = string.split("\n"), []
        for line in lines:
            place = self._owner.context(line, len(lines) > 1)
            line = line if place.said else without_password(line)
            if line.strip(" ") and (place, line) != self._last:
                self._typed.append((place, line))
                if not place.said:
                    new.append(line)
        if new and self._keep is not None:
            self._keep(new).addErrback(self._failed)

    # Own

    @property
    def _last(self) -> tuple[InputContext, str]:
        return self._typed[-1] if self._typed else (InputContext(), "")

    def _failed(self, failure: Failure) -> Failure | None:
        problem = failure.value
        if not isinstance(problem, OSError):
            return failure
        if self._keep is not None:
            self._keep = None
            self._owner.problem(not_kept(problem))
        return None
