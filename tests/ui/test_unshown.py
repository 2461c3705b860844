"""What a person left in a list comes before the next one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest, CommandInfo
from bbs.protocols.commands import Command, Role
from bbs.ui.unshown import MOST_KEPT, UnshownLines

COMMANDS = {
    command.name: CommandInfo(command, command.harmless)
    for command in (
        Command("take <user> [<shelf>]", Role.APP),
        Command("look <user>", Role.APP, harmless=True),
    )
}


def asked(line: str) -> ClientRequest:
    return ClientRequest.parse(line, COMMANDS)


def reply(*lines: str, **members: object) -> ServiceReply:
    return ServiceReply({"status": 0, "thing": [*lines], **members})


class UnshownLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.unshown: UnshownLines[str] = UnshownLines()

    def shown(self, line: str, *lines: str) -> list[str]:
        """What a list has that the service gives for a line; nothing is `["Nothing"]`."""
        return [*self.unshown.before(asked(line), reply(*lines), lines or ["Nothing"])]

    def keep(self, line: str, *lines: str) -> str:
        return self.unshown.keep(asked(line), lines)

    def test_before_the_next(self) -> None:
        self.keep("take ann", "b", "c")
        self.assertEqual(self.shown("take ann", "d"), ["b", "c", "d"])
        self.assertEqual(self.shown("take ann", "e"), ["e"])

    def test_instead_of_an_empty_one(self) -> None:
        self.keep("take ann", "b")
        self.assertEqual(self.shown("take ann"), ["b"])
        self.assertEqual(self.shown("take ann"), ["Nothing"])

    def test_for_the_same_user_and_arguments(self) -> None:
        self.keep("take ann 1", "b")
        self.assertEqual(self.shown("take bob 1"), ["Nothing"])
        self.assertEqual(self.shown("take ann"), ["Nothing"])
        self.assertEqual(self.shown("take ann 1"), ["b"])

    def test_a_refusal_takes_nothing(self) -> None:
        self.keep("take ann", "b")
        refused = ServiceReply({"status": 1, "message": "No"})
        self.assertEqual(self.unshown.before(asked("take ann"), refused, ["No"]), ["No"])
        self.assertEqual(self.shown("take ann"), ["b"])

    def test_what_to_type(self) -> None:
        words = "Lines that are not shown yet: 2. Type: {}"
        self.assertEqual(self.keep("take ann", "a", "b"), words.format("take"))
        self.assertEqual(self.keep("take ann 1", "a", "b"), words.format("take 1"))

    def test_what_can_be_asked_for_again_is_not_kept(self) -> None:
        self.assertEqual(self.keep("look ann", "b"), "")
        self.assertEqual(self.shown("look ann", "b"), ["b"])

    def test_nothing_was_left(self) -> None:
        self.assertEqual(self.keep("take ann"), "")

    def test_most(self) -> None:
        self.keep("take ann", *map(str, range(MOST_KEPT + 1)))
        kept = self.shown("take ann")
        self.assertEqual((kept[0], len(kept)), ("1", MOST_KEPT))
