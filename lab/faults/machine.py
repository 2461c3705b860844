"""What a service has of its machine: a disk that can be full, and a clock that can be set."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

LIBRARY = "libfaketime.so.1"
"""Not the one for threads: its lock takes most of what a server has, and Python has its own."""
PLACES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")

MIB = 1 << 20

HOUR = 3600

CACHE = 1
"""Seconds for which a process believes what it last read of its clock."""


class Disk:
    """A folder of a limited size, if this user may mount one; else just a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        """:param size: in MiB; the memory is taken as it is needed."""
        self.folder = folder
        folder.mkdir(parents=True)
        command: list[str | Path] = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={size}m,mode=700",
            "bbs-faults",
        ]
        self.limited = os.getuid() == 0 and _succeeds([*command, folder])
        self._ballast = folder / "ballast"

    def fill(self, file: Path | None = None) -> None:
        """Leave no room; what is freed meanwhile is taken by the next call.

        :param file: what takes the room, unless that is all the same.
        """
        with (file or self._ballast).open("ab") as ballast:
            for piece in (MIB, 1 << 12):
                with suppress(_Full):
                    while True:
                        _extend(ballast.fileno(), piece)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it; what was in it is gone."""
        if self.limited and not _succeeds(["umount", self.folder]):
            _succeeds(["umount", "--lazy", self.folder])


class _Full(Exception):
    pass


def _extend(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full() from error


def _succeeds(command: list[str | Path]) -> bool:
    try:
        return (
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
        )
    except FileNotFoundError:
        return False


class Clock:
    """The wall clock of some processes, by libfaketime; the monotonic one stays true."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset = 0
        self.set(0)

    @staticmethod
    def library() -> Path | None:
        """Where libfaketime is."""
        for place in PLACES:
            for found in sorted(Path(place).glob(f"**/faketime/{LIBRARY}")):
                return found
        return None

    def set(self, offset: int) -> None:
        """Have the processes believe that it is `offset` seconds later than it is."""
        self.offset = offset
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_text(f"{offset:+d}\n")
        new.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """For the processes whose clock it is, and their children; empty without the library."""
        library = self.library()
        if library is None:
            return {}
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Else for ten seconds; and with none at all, FAKETIME_NO_CACHE, each look at a clock
            # reads the file, which takes a server's whole processor.
            "FAKETIME_CACHE_DURATION": str(CACHE),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
