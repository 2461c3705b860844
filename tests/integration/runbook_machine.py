"""A machine on which the runbook's commands are run: processes and folders of a test, in the place
of units of systemd's and of `/etc/bbs`, `/var/lib/bbs` and others."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from lab.rolling.versions import environ
from tests.docs.runbook import Command, fits
from tests.integration.service import BIN, Process, Service, eventually

WITHIN = 150.0
"""Seconds for what a reader would look at again and again, on a machine that does much else."""

AGAIN = 0.5
"""Seconds until they do: each look is a process, or several."""

_LOOKS = re.compile(
    r"bbs (fleet list|user (list|show)|db status|client)\b|curl |grep |journalctl |mariadb .*SELECT"
)
"""How commands begin that may be given again until they print what they should."""

_JOURNAL = """\
#!/bin/sh
# journalctl -u UNIT: what the test's process of that unit has said.
exec cat "{folder}/journal/$2"
"""

_CHOWN = """\
#!/bin/sh
# chown OWNER FILE...: here everything runs as one user, and files have to be there.
shift
exec ls -- "$@" >/dev/null
"""

PYTHON = ("bbs", "twistd", "python")
"""What a version installs, as far as anybody here types it."""


class Unit(Protocol):
    """What `systemctl` starts and stops."""

    def start(self) -> Awaitable[None]:
        """Start it, and wait until it serves."""

    def stop(self) -> Awaitable[None]:
        """Ask it to stop, and wait until it has."""

    def said(self) -> str:
        """All that it has ever said."""


class ProcessUnit:
    """One that is a process.

    :param begin: starts it; gives it when it serves.
    """

    def __init__(self, begin: Callable[[], Awaitable[Process]]) -> None:
        self._begin = begin
        self._processes: list[Process] = []

    async def start(self) -> None:
        self._processes.append(await self._begin())

    async def stop(self) -> None:
        await self._processes[-1].end()

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._processes[-1].kill()

    def said(self) -> str:
        return "".join(each.output + each.errors for each in self._processes)


class Machine:
    """One machine.

    :param backups: its `/var/backups`, which outlives it.
    :param words: what stands for what in commands, beside the usual folders: places of the
        runbook's, and those of the test.
    """

    def __init__(self, service: Service, backups: Path, words: Mapping[str, str]) -> None:
        self.service = service
        self.folder = service.folder
        self.units: dict[str, Unit] = {}
        usual = {
            "/etc/bbs": f"{self.folder}/etc",
            "/var/lib/bbs": f"{self.folder}/data",
            "/var/log/bbs": f"{self.folder}/log",
            "/opt/bbs": f"{self.folder}/opt/bbs",
            "/var/backups": str(backups),
        }
        # The longer one of two that begin alike comes first.
        self._words = {**words, **{key: usual[key] for key in usual if key not in words}}
        for name in ("etc", "log", "opt", "bin", "journal"):
            (self.folder / name).mkdir(exist_ok=True)
        backups.mkdir(exist_ok=True)
        self._script(self.folder / "bin" / "journalctl", _JOURNAL.format(folder=self.folder))
        self._script(self.folder / "bin" / "chown", _CHOWN)

    def install(self, version: str, tree: Path) -> None:
        """Have `/opt/bbs-VERSION`, which runs the code of `tree`."""
        programs = self.folder / "opt" / f"bbs-{version}" / "bin"
        programs.mkdir(parents=True)
        path = environ(tree)["PYTHONPATH"]
        for name in PYTHON:
            own = f'#!/bin/sh\nPYTHONPATH={shlex.quote(path)} exec {BIN / name} "$@"\n'
            self._script(programs / name, own)

    def _script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def real(self, text: str) -> str:
        """A text of the runbook's as it is here."""
        for word, here in self._words.items():
            text = text.replace(word, here)
        return text

    def told(self, text: str) -> str:
        """What is said here, as the runbook would."""
        for word, here in self._words.items():
            text = text.replace(here, word)
        return text

    async def follow(self, command: Command) -> None:
        """Do what the runbook says, and see that it prints what the runbook says."""
        if command.text.startswith("systemctl "):
            await self._systemctl(*command.text.split()[1:])
            return
        said = ""

        async def as_printed() -> bool:
            nonlocal said
            said = await self.says(command.text)
            return fits(said, command.printed)

        looks = _LOOKS.match(command.text)
        try:
            await eventually(as_printed, command.text, WITHIN if looks else 0.0, AGAIN)
        except AssertionError:
            raise AssertionError(
                f"{command.text}\nprints\n{said}\nand not\n{command.printed}"
            ) from None

    async def says(self, command: str) -> str:
        """What a command prints, on either output."""
        for name, unit in self.units.items():
            (self.folder / "journal" / name).write_text(self.told(unit.said()))
        own = (self.folder / "bin", self.folder / "opt/bbs/bin", BIN)
        path = os.pathsep.join([*map(str, own), os.environ["PATH"], "/usr/sbin", "/sbin"])
        process = self.service.start(
            *("/bin/bash", "-c", f"exec 2>&1\n{self.real(command)}"), environ={"PATH": path}
        )
        await process.ended(WITHIN)
        return self.told(process.output)

    async def _systemctl(self, verb: str, *units: str) -> None:
        for unit in units:
            if verb in ("stop", "restart"):
                await self.units[unit].stop()
            if verb in ("start", "restart"):
                await self.units[unit].start()
