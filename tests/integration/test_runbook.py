"""The runbook, `docs/runbook.md`: every command in it is run, and prints what the page says."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.machine import Disk
from tests.integration.runbook_machine import Machine
from tests.integration.service import Process, Service, ServiceCase
from tests.runbook import RUNBOOK, Block, blocks, fits

BLOCKS = blocks(RUNBOOK.read_text("utf-8"))

DISK = 24
"""MiB of the disk that becomes full."""


class RunbookCase(ServiceCase):
    """Follows sections of the runbook, on machines of its own."""

    def setUp(self) -> object:
        self.machines: dict[str, Machine] = {}
        self.followed: set[str] = set()
        return super().setUp()

    async def follow(self, section: str, first: int = 0, last: int | None = None) -> None:
        """Do what blocks of a section say, those from `first` up to `last`."""
        found = [block for block in BLOCKS if block.section == section and block.is_run]
        self.assertTrue(found, section)
        for block in found[first:last]:
            await self.do(block)

    def tell(self, seconds: float) -> None:
        """Say how long it took, for whoever reads what the tests print."""
        print(f"\nlost, restored and served again in {seconds:.1f} s", file=sys.stderr)

    async def do(self, block: Block) -> None:
        """Do what a block says."""
        for command in block.commands():
            await self.machines[command.where].follow(command)

    def machine(self, where: str, service: Service, **words: str) -> Machine:
        """A machine, on which commands behind that prompt are given."""
        backups = Path(self.mktemp()).absolute() if not self.machines else self.backups
        self.backups = backups
        ports = {
            "127.0.0.1 22222": f"127.0.0.1 {service.port}",
            ":22222": f":{service.port}",
        }
        machine = self.machines[where] = Machine(service, backups, {**ports, **words})
        return machine


class OnOneMachine(RunbookCase):
    """`bbs up`, on SQLite."""

    def alone(self, where: str, **sections: Mapping[str, object]) -> Machine:
        service = self.service(
            telnet={"listen": ""}, web={"listen": "tcp:0:interface=127.0.0.1"}, **sections
        )
        machine = self.machine(where, service)

        async def up() -> Process:
            return await service.up()

        machine.units["bbs"] = up
        return machine

    async def register(self, machine: Machine, *names: str) -> None:
        lines = "".join(f"register {name} sesame\n" for name in names)
        said = await machine.says(f"bbs client 127.0.0.1 22222 <<'END'\n{lines}END")
        self.assertEqual(said, "Success!\n" * len(names))

    async def test_a_backup_a_lost_machine_and_a_restore_elsewhere(self) -> None:
        old = self.alone("")
        await old.start("bbs")
        await self.register(old, "ann", "bob")
        friends = "login ann sesame\ninvite bob\nlogout\nlogin bob sesame\naccept-invite ann\n"
        again = "logout\nlogin ann sesame\n"
        await old.says(f"bbs client 127.0.0.1 22222 <<'END'\n{friends}{again}END")
        await self.follow("Restore, SQLite", last=1)
        # The machine and its disk are gone; what is left is the copy.
        lost = reactor.seconds()
        await old.running["bbs"].kill()
        (old.service.data).rename(old.folder / "gone")
        self.alone("new")
        await self.follow("Restore, SQLite", first=1)
        print(
            f"\nlost, restored and served again in {reactor.seconds() - lost:.1f} s",
            file=sys.stderr,
        )

    async def test_a_full_disk(self) -> None:
        machine = self.alone("")
        disk = Disk(machine.service.data, DISK)
        self.addCleanup(disk.remove)
        self.assertTrue(disk.limited, "no tmpfs can be mounted here")
        await machine.start("bbs")
        await self.register(machine, "ann")
        disk.fill(machine.service.data / "old-backup.sqlite3")
        await self.follow("The database is full")


class Page(SynchronousTestCase):
    """The document itself."""

    def test_every_block_is_of_a_kind(self) -> None:
        text = RUNBOOK.read_text("utf-8")
        self.assertEqual(len(BLOCKS), text.count("\n```") // 2)
        for block in BLOCKS:
            known = block.kind == "console" or block.file or not block.is_run
            self.assertTrue(known, f"{block.section}: nothing says whether it is run: {block.text}")

    def test_what_is_printed_is_compared(self) -> None:
        for said, printed, same in (
            ("a 1\nb\n", "a 22\nb\n", True),
            ("a 1\n", "a 1\nb\n", False),
            ("a\nx\ny\nb\n", "a\n…\nb\n", True),
            ("a\nb\n", "a\n…\nb\n", True),
            ("a\nc\n", "a\n…\nb\n", False),
            ("a 2026-11-26T10:36:46+00:00   x\n", "a 2027-01-01T00:00:00+00:00 x\n", True),
            ("fe12fe12fe12fe12 ready\n", "0123456789abcdef …\n", True),
            ("fe12fe12fe12fe12 ready\n", "0123456789abcdef lost\n", False),
        ):
            self.assertIs(fits(said, printed), same, (said, printed))
