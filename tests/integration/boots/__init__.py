"""Machines that boot: systemd as the first process of namespaces, on this machine's own files.

An image is this machine's root with a layer above it, into which a script has put something. A
machine is that with another layer, and boots under systemd, as an instance would, without any
network but loopback. Both are gone when they are closed, or when the process that made them ends.
This takes root.

    image = Image("install -D …")
    machine = image.boot({"etc/bbs/bbs.toml": "…"})
    machine.run("systemctl", "start", "bbs-login")
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

__all__ = ["Booted", "Image", "NotBooted"]

_SCRIPTS = Path(__file__).absolute().parent
_SECONDS = 120
"""What anything there may take, on a machine with much else to do."""


class NotBooted(Exception):
    """An image could not be made, or a machine does not boot; what it said."""


class Image:
    """What machines boot from."""

    def __init__(self, script: str, files: Mapping[str, bytes] | None = None) -> None:
        """Run `script`, for bash, in a fresh image; `files` are beside it, in its folder /mnt.

        :raises NotBooted: it failed.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="bbs-boots-"))
        beside = self._folder / "files"
        _write(beside, {**(files or {}), "script": script.encode()})
        (self._folder / "mount").mkdir()
        log = self._folder / "log"
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "bash", str(_SCRIPTS / "image.sh")),
                    *(str(self._folder / "mount"), str(beside / "script")),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        printed = _stream(self._process.stdout)
        self.said = ""
        """What the script has printed."""
        for line in printed:
            if line == b"made\n":
                break
            self.said += line.decode()
        else:
            self.close_process()
            self.said += log.read_text()
            shutil.rmtree(self._folder)
            raise NotBooted(self.said)

    def boot(self, seed: Mapping[str, str], executable: tuple[str, ...] = ()) -> Booted:
        """A machine that boots with these files in its root, by their paths."""
        name = f"bbs-{secrets.token_hex(4)}"
        folder = self._folder / name
        _write(folder, {path: text.encode() for path, text in seed.items()})
        for path in executable:
            (folder / path).chmod(0o755)
        place = self._folder / "mount"
        process = subprocess.Popen(
            [
                *("nsenter", f"--target={self._process.pid}", "--mount"),
                *("unshare", "--mount", "bash", str(_SCRIPTS / "machine.sh")),
                *(str(place), name, str(folder)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        number = _stream(process.stdout).readline()
        if not number.strip():
            process.wait()
            raise NotBooted("no systemd")
        return Booted(process, int(number))

    def close(self) -> None:
        """Forget it; its machines are closed before."""
        self.close_process()
        shutil.rmtree(self._folder)

    def close_process(self) -> None:
        """End the process that keeps it."""
        _end(self._process)


class Booted:
    """A machine."""

    def __init__(self, process: subprocess.Popen[bytes], number: int) -> None:
        self._process = process
        self._number = number

    def run(self, *command: str, input: str = "", check: bool = True) -> str:
        """What a command prints there, both outputs together.

        :raises AssertionError: it fails, where that is to be looked at; with what it printed, and
            the end of the journal.
        """
        done = subprocess.run(
            [
                *("nsenter", f"--target={self._number}", "--all"),
                *("env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8"),
                *("timeout", f"{_SECONDS}", *command),
            ],
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )
        if check and done.returncode:
            journal = self.run("journalctl", "--no-pager", "--lines=60", check=False)
            ended = f"{command} ended with {done.returncode} (124: not by itself)"
            raise AssertionError(f"{ended}:\n{done.stdout}\n{journal}")
        return done.stdout

    def booted(self) -> str:
        """Wait until it has booted; `running`, or `degraded` where a unit failed."""
        self.until("test", "-S", "/run/systemd/private")
        return self.run("systemctl", "is-system-running", "--wait", check=False).strip()

    def until(self, *command: str) -> str:
        """What a command prints once it succeeds.

        :raises AssertionError: it does not.
        """
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                return self.run(*command)
            except AssertionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def powered_off(self) -> None:
        """Wait until it has powered itself off."""
        self._process.wait(_SECONDS)

    def close(self) -> None:
        """Cut its power."""
        _end(self._process)


def _end(process: subprocess.Popen[bytes]) -> None:
    _stream(process.stdin).close()
    process.wait()
    _stream(process.stdout).close()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Files in a folder, that only root writes."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.chmod(path, 0o644)
