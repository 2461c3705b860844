"""The history of typed lines, for the arrow keys, kept in a file.

Only its owner can read the file, which is read once, before the reactor runs, and written by a
thread, without passwords. If that fails, the person is told once,
and the history lasts as long as the client.

Messages in a talk are not written to the file: the arrow keys recall them in that talk only, while
the client runs. In a talk the arrow keys recall no commands, as Enter would send them to somebody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prompt_toolkit import history
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bbs.ui.prompts import without_password
from bbs.ui.terminal.interfaces import IHistoryOwner, InputContext

KEPT = 1000  # lines that stay in the file when a client starts; a shell keeps as many
MOST_READ = 4 * 1024 * 1024  # bytes at the end of the file that are read; lines may be long


def not_kept(problem: OSError) -> str:
    return f"The history is not saved: {problem.strerror or problem}"


@dataclass(frozen=True)
class HistoryFile:
    """The file of the history. The methods block, and raise OSError."""

    _path: Path

    def read(self) -> list[str]:
        """The lines kept, oldest first; a longer file is cut down."""
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return []  # a link to /dev/null, to have no history
            if status.st_uid == os.geteuid():
                os.fchmod(file.fileno(), 0o600)
            end = file.seek(0, os.SEEK_END)
            begin = file.seek(max(0, end - MOST_READ))
            lines = file.read().split(b"\n")
        # The first line lacks its beginning if the reading began in the middle of it.
        lines = [line for line in lines[1 if begin else 0 :] if line]
        if begin or len(lines) > KEPT:
            lines = lines[-KEPT:]
            self._replace(lines)
        return [line.decode("utf-8", "replace") for line in lines]

    def _replace(self, lines: Iterable[bytes]) -> None:
        # A line that another client adds meanwhile may be lost, but never the file.
        path = self._path.resolve()  # a link to a file elsewhere stays one
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(line + b"\n" for line in lines)
        os.replace(new, path)

    def add(self, lines: Sequence[str]) -> None:
        """Append lines in one write, so that lines of two clients do not mix."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        finally:
            os.close(file)


class History(history.History):
    """The lines for the arrow keys: the earlier `lines`, and those typed now. `keep` writes lines
    to the file; `owner` gets the first failure of that."""

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
        """Do nothing, as `append_string` stores lines."""

    def append_string(self, string: str) -> None:
        lines, new = string.split("\n"), []
        for line in lines:
            place = self._owner.context(line, len(lines) > 1)
            line = line if place.said else without_password(line)
            if line.strip(" ") and [(place, line)] != self._typed[-1:]:
                self._typed.append((place, line))
                if not place.said:
                    new.append(line)
        if new and self._keep is not None:
            self._keep(new).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure | None:
        problem = failure.value
        if not isinstance(problem, OSError):
            return failure
        if self._keep is not None:
            self._keep = None
            self._owner.problem(not_kept(problem))
        return None
