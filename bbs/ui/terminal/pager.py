"""The pager of whoever sits there (`PAGER`), run as git and psql run it.

It is a line for the shell. It gets the text on its standard input, and has the terminal meanwhile.
Nothing of that is in a file.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

LESS = "FRX"
"""How less is to be, where `LESS` does not say: it ends by itself where all is on one screen, and
leaves it there. git has it so."""


class Failed(Exception):
    """It did not show the text; the text is why, in a few words."""


class Pager:
    """The pager that `command` is, with such an environment."""

    def __init__(self, command: str, environ: Mapping[str, str]) -> None:
        self.command = command
        self._environ = {"LESS": LESS, **environ}
        self._process: asyncio.subprocess.Process | None = None
        self._over = False

    async def show(self, text: str) -> None:
        """Until it is left. Raises `Failed`. Only on asyncio's loop."""
        data = text.encode("utf-8", "replace")
        try:
            with _deaf_to_interrupts():
                self._process = process = await asyncio.create_subprocess_shell(
                    self.command, stdin=asyncio.subprocess.PIPE, env=self._environ
                )
                if self._over:  # It has begun to run before it was known here.
                    self.end()
                await process.communicate(data)
        except OSError as problem:
            raise Failed(problem.strerror or "it could not be started") from problem
        finally:
            self._process = None
        # Who is ended by a signal was left by Ctrl-C.
        if 0 < (process.returncode or 0) < 128:
            raise Failed(f"exit code {process.returncode}")

    def end(self) -> None:
        """End it now, and whatever is to be shown yet, as the client ends."""
        self._over = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is the pager's meanwhile. With a handler, as what is ignored would be ignored by the
    pager too."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
