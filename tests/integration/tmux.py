"""`bbs client` in tmux, which breaks lines anew when a window gets narrower, as most terminals do,
and tells where the cursor is.

    terminal = Tmux(service)
    await terminal.begin()
    await terminal.shows("help")
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from tests.integration.service import BIN, Service, eventually

TMUX = shutil.which("tmux")


class Tmux:
    """A client in a window of a tmux of its own, which ends with the test."""

    def __init__(self, service: Service, columns: int = 80, rows: int = 24) -> None:
        self._service = service
        self._size = ("-x", str(columns), "-y", str(rows))
        # By name: the path of a socket has at most 107 bytes, and the test's folder may have more.
        self._socket = f"bbs-test-{secrets.token_hex(8)}"
        self.lines: list[str] = []

    async def begin(self) -> None:
        service = self._service
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(service.folder),
            "LANG": "C.UTF-8",
            "XDG_STATE_HOME": str(service.folder / "state"),
            **{key: value for key, value in os.environ.items() if key.startswith("PYTHONPATH")},
        }
        words = [f"{key}={value}" for key, value in environ.items()]
        argv = [str(BIN / "bbs"), "client", "127.0.0.1", str(service.port)]
        command = f"exec {shlex.join(['env', *words, *argv])}"
        await self._run("new-session", "-d", *self._size, command)
        service.case.addCleanup(self._run, "kill-server")

    def _run(self, *arguments: str) -> Deferred[Any]:
        argv = ("-L", self._socket, "-f", os.devnull, *arguments)
        assert TMUX is not None
        return getProcessOutputAndValue(TMUX, argv, env=dict(os.environ)).addCallback(self._output)

    def _output(self, ended: tuple[bytes, bytes, int]) -> str:
        out, err, code = ended
        assert code == 0, err.decode()
        return out.decode()

    async def type(self, text: str) -> None:
        await self._run("send-keys", "-l", text)

    async def press(self, *keys: str) -> None:
        """Press keys by tmux's names for them."""
        await self._run("send-keys", *keys)

    async def enter(self, line: str) -> None:
        await self.type(line)
        await self.press("Enter")

    async def resize(self, columns: int, rows: int = 24) -> None:
        await self._run("resize-window", "-x", str(columns), "-y", str(rows))

    async def look(self) -> list[str]:
        """The lines that it shows, and those above."""
        shown = await self._run("capture-pane", "-p", "-S", "-1000")
        self.lines = [line.rstrip() for line in shown.rstrip("\n").split("\n")]
        return self.lines

    async def shows(self, *texts: str) -> None:
        """Wait until its last lines, without blank ones, end with these."""

        async def look() -> bool:
            last = [line for line in await self.look() if line][-len(texts) :]
            ends = zip(last, texts, strict=True) if len(last) == len(texts) else [("", "-")]
            return all(line.endswith(text) for line, text in ends)

        await eventually(look, f"{texts} on the screen")

    def dump(self) -> str:
        """A file that will show the screen to whoever wonders why a test failed."""
        path = self._service.folder / f"{self._socket}.txt"
        self._service.case.addCleanup(lambda: path.write_text("\n".join(self.lines)))
        return str(path)
