"""A machine on which the runbook's commands are run: processes and folders of a test, in the place
of units of systemd's and of `/etc/bbs`, `/var/lib/bbs` and others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.integration.service import BIN, Process, Service, eventually
from tests.runbook import Command, fits

WITHIN = 60.0
"""Seconds for what a reader would look at again and again, on a machine that does much else."""

_LOOKS = re.compile(
    r"bbs (fleet list|user (list|show)|db status|client)\b|curl |grep |tail |journalctl |jq "
)
"""How commands begin that may be given again until they print what they should."""

_JOURNAL = """\
#!/bin/sh
# journalctl -u UNIT: what the test's process of that unit has said.
exec cat "{folder}/journal/$2"
"""

Start = Callable[[], Awaitable[Process]]
"""Starts a unit; gives its process when it serves."""


class Machine:
    """One machine.

    :param words: what stands for what in commands, beside the usual folders: places of the
        runbook's, and those of the test.
    """

    def __init__(self, service: Service, backups: Path, words: Mapping[str, str]) -> None:
        self.service = service
        self.folder = service.folder
        self.units: dict[str, Start] = {}
        self.running: dict[str, Process] = {}
        self._said: dict[str, list[Process]] = {}
        self._words = {
            "/etc/bbs": f"{self.folder}/etc",
            "/var/lib/bbs": f"{self.folder}/data",
            "/var/log/bbs": f"{self.folder}/log",
            "/opt/bbs": f"{self.folder}/opt/bbs",
            "/var/backups": str(backups),
            **words,
        }
        for name in ("etc", "log", "opt", "bin", "journal"):
            (self.folder / name).mkdir(exist_ok=True)
        backups.mkdir(exist_ok=True)
        journal = self.folder / "bin" / "journalctl"
        journal.write_text(_JOURNAL.format(folder=self.folder))
        journal.chmod(0o755)

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
            await eventually(as_printed, command.text, WITHIN if looks else 0.0)
        except AssertionError:
            raise AssertionError(
                f"{command.text}\nprints\n{said}\nand not\n{command.printed}"
            ) from None

    async def says(self, command: str) -> str:
        """What a command prints, on either output."""
        for unit, processes in self._said.items():
            said = "".join(each.output + each.errors for each in processes)
            (self.folder / "journal" / unit).write_text(self.told(said))
        path = f"{self.folder}/bin:{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        process = self.service.start(
            *("/bin/bash", "-c", f"exec 2>&1\n{self.real(command)}"), environ={"PATH": path}
        )
        await process.ended(WITHIN)
        return self.told(process.output)

    async def start(self, unit: str) -> None:
        """Start a unit, and wait until it serves."""
        process = await self.units[unit]()
        self.running[unit] = process
        self._said.setdefault(unit, []).append(process)

    async def stop(self, unit: str) -> None:
        """Ask it to stop, and wait."""
        await self.running.pop(unit).end()

    async def _systemctl(self, verb: str, *units: str) -> None:
        for unit in units:
            if verb in ("stop", "restart"):
                await self.stop(unit)
            if verb in ("start", "restart"):
                await self.start(unit)


def quoted(*words: Any) -> str:
    """Words of a command, as a shell takes them."""
    return shlex.join(map(str, words))
