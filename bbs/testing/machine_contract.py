"""The contract of a machine as an app server asks it about itself (`IMachine`): a suite that each
implementation runs over itself.

Mix `MachineContract` into a `twisted.trial.unittest.TestCase` that says how its machine is made and
how it goes wrong:

    class PopenMachineContract(MachineContract, TestCase):
        def make_machine(self):
            return PopenMachine(…)

        def announce(self, machine):
            self.notice.write_text("a reboot at noon")

        def break_answers(self, machine):
            self.notice.mkdir()
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from zope.interface.verify import verifyObject

from bbs.core.addresses import Address
from bbs.scaling.interfaces import IMachine, MachineNotice, MachineUnavailable

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

QUESTIONS = ("address", "instance_id", "zone", "notice")


class MachineContract(_Case):
    """The promises of `IMachine`."""

    def make_machine(self) -> Any:
        """A machine as an app server gets it, before any notice."""
        raise NotImplementedError

    def announce(self, machine: Any) -> None:
        """Have the provider announce that it takes `machine` away."""
        raise NotImplementedError

    def break_answers(self, machine: Any) -> None:
        """Make questions to `machine` fail from now on, as far as they can."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let come what takes no time. Does nothing; override it if your reactor is in memory."""

    def ask(self, machine: Any, question: str) -> Deferred[Any]:
        """Ask the machine a `question`, which is one of the `QUESTIONS`."""
        asked: Deferred[Any] = maybeDeferred(getattr(machine, question))
        self.settle()
        return asked

    def test_interface(self) -> None:
        machine = self.make_machine()
        verifyObject(IMachine, machine)
        self.assertTrue(isfinite(machine.notice_interval))

    async def test_address(self) -> None:
        """A host that people can connect to, or None."""
        host = await self.ask(self.make_machine(), "address")
        if host is not None:
            self.assertEqual(Address.told(host, 0).port, 0)

    async def test_names(self) -> None:
        """Each is a text that the fleet can store, the same each time, or None."""
        machine = self.make_machine()
        for question in ("instance_id", "zone"):
            name = await self.ask(machine, question)
            self.assertEqual(await self.ask(machine, question), name)
            if name is not None:
                self.assertTrue(name.isprintable() and 0 < len(name) <= 64, name)

    async def test_notice(self) -> None:
        """None until there is one, which then stays; in one line that is not too long."""
        machine = self.make_machine()
        self.assertIs(await self.ask(machine, "notice"), None)
        self.announce(machine)
        notice = await self.ask(machine, "notice")
        self.assertIsInstance(notice, MachineNotice)
        self.assertTrue(notice.certain)
        self.assertTrue(notice.why.isprintable() and 0 < len(notice.why) <= 200, notice)
        self.assertEqual(await self.ask(machine, "notice"), notice)

    async def test_all_at_once(self) -> None:
        machine = self.make_machine()
        answers = await DeferredList([self.ask(machine, each) for each in QUESTIONS])
        self.assertEqual([is_answer for is_answer, _ in answers], [True] * len(QUESTIONS))

    async def test_given_up(self) -> None:
        """A question that is given up fails by that alone, and the next one has its answer."""
        machine = self.make_machine()
        for question in QUESTIONS:
            asked: Deferred[Any] = maybeDeferred(getattr(machine, question))
            asked.cancel()
            self.settle()
            asked.addErrback(lambda failure: failure.trap(CancelledError, MachineUnavailable))
            await asked
            await self.ask(machine, question)

    async def test_unavailable(self) -> None:
        """A question that has no answer now raises `MachineUnavailable`, with a text of one
        line."""
        machine, failed = self.make_machine(), 0
        self.break_answers(machine)
        for question in QUESTIONS:
            try:
                await self.ask(machine, question)
            except MachineUnavailable as error:
                self.assertTrue(str(error))
                self.assertNotIn("\n", str(error))
                failed += 1
        self.assertTrue(failed, "no question failed")
