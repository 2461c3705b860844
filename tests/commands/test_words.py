"""What commands declare for people."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.common import all_commands
from bbs.commands.service import Service, ServiceUnusable, described
from bbs.commands.words import completed, has_words
from bbs.core.errors import Refusal
from bbs.protocols.commands import Command, CommandTable, Role
from bbs.protocols.events import Event
from bbs.protocols.forms import Line, Listing
from bbs.protocols.presentation import ChatEvent, Choices, Presentation


class NoRoom(Refusal):
    text = "No room {}"
    shown = "There is no room called {}."


class NoSuchPlace(Refusal):
    text = "No place"
    code = NoRoom.code
    shown = "There is no place called {}."


class Full(Refusal):
    text = "Full"


def rule(caller: object, *arguments: str) -> None:
    """Do nothing."""


def command(usage: str, **words: Any) -> Command:
    return Command(usage, Role.APP, rule=rule, **words)


class Words(SynchronousTestCase):
    def test_everything(self) -> None:
        rooms = Listing("room", "No rooms")
        line = Line("{id:text}, {people} people")
        presentation = completed(
            Presentation(choices=(Choices("room"),)),
            [
                command(
                    "enter <user> <room> [<text>]",
                    help="Enters a room.",
                    group="Rooms",
                    aliases=("e",),
                    done="You are in {room}.",
                    done_without={"text": "You are in {room}, and say nothing."},
                    complete={"room": ("room",)},
                    refuses=(NoRoom, Full),
                ),
                command("rooms <user>", group="Rooms", shown=(rooms, line)),
                command("again <user>", group="More", shown=(rooms, line)),
            ],
        )
        self.assertEqual(
            presentation,
            Presentation(
                help={"enter": "Enters a room."},
                groups={"Rooms": ("enter", "rooms"), "More": ("again",)},
                aliases={"e": "enter"},
                done={
                    "enter": "You are in {room}.",
                    "enter -text": "You are in {room}, and say nothing.",
                },
                complete={"enter room": ("room",)},
                choices=(Choices("room"),),
                failures={"no-room": "There is no room called {}."},
                lists=(rooms,),
                lines=(line,),
            ),
        )

    def test_refusals(self) -> None:
        """Words that differ from the first of a code are for the command."""
        commands = [
            command("a <user>", refuses=(NoRoom,), failures={NoRoom: "No."}),
            command("b <user>", refuses=(NoRoom, Full), failures={Full: "Full, sorry."}),
            command("c <user>", refuses=(NoSuchPlace,)),
        ]
        self.assertEqual(
            completed(Presentation(), commands).failures,
            {
                "no-room": "There is no room called {}.",
                "a no-room": "No.",
                "b full": "Full, sorry.",
                "c no-room": "There is no place called {}.",
            },
        )

    def test_events(self) -> None:
        line, said = Line("{id:text} left"), ChatEvent("said")
        events = [Event("left", shown={"id": line}), Event("said", chat=said), Event("hum")]
        presentation = completed(Presentation(), [], events)
        self.assertEqual(presentation, Presentation(events={"left id": line}, chats=(said,)))
        own = Presentation(events={"left id": Line("Gone")}, chats=(ChatEvent("said", id=""),))
        self.assertEqual(completed(own, [], events), own)
        chat = Presentation(chats=(ChatEvent("left"),))
        self.assertEqual(completed(chat, [], events[:1]), chat)

    def test_a_presentation_counts_first(self) -> None:
        own = Presentation(
            help={"enter": "Goes."},
            groups={"Here": ("enter",)},
            lists=(Listing("room", "None"),),
            done={"enter": "Gone."},
        )
        enter = command(
            "enter <user> <room>",
            help="Enters.",
            group="Rooms",
            done="In.",
            shown=(Listing("room", "No rooms"),),
        )
        self.assertEqual(completed(own, [enter]), own)

    def test_contradictions(self) -> None:
        with self.assertRaisesRegex(ValueError, "aliases: e is enter and end"):
            completed(
                Presentation(),
                [
                    command("enter <user>", aliases=("e",)),
                    command("end <user>", aliases=("e",)),
                ],
            )
        with self.assertRaisesRegex(ValueError, "there are two room"):
            completed(
                Presentation(),
                [
                    command("a <user>", shown=(Listing("room", "None"),)),
                    command("b <user>", shown=(Listing("room", "No rooms"),)),
                ],
            )

    def test_malformed(self) -> None:
        for words, why in (
            ({"failures": {NoRoom: "No."}}, "failures has words for what refuses does not have"),
            ({"done_without": {"room": "."}}, "name something that is not a parameter"),
            ({"complete": {"room": ()}}, "name something that is not a parameter"),
            ({"shown": Listing("room")}, "shown are Lines and Listings"),
        ):
            with self.assertRaisesRegex(ValueError, why):
                command("enter <user>", **words)
        with self.assertRaisesRegex(ValueError, "both a handler and then"):
            Command("enter <user>", Role.APP, say, then=say)

    def test_of_nobody(self) -> None:
        self.assertFalse(has_words(command("enter <user>", refuses=(NoRoom,))))
        self.assertTrue(has_words(command("enter <user>", help="Enters.")))


async def say(ask: object) -> None:
    """Do nothing."""


class Told(SynchronousTestCase):
    """What servers tell of a service that names no presentation."""

    def told(self, *commands: Command) -> Any:
        service = Service("zoo", commands=(CommandTable(*commands),))
        return described(service, all_commands(service)).get("presentation")

    def test_words(self) -> None:
        """It has nothing of the board's."""
        self.assertEqual(
            self.told(command("feed <user>", help="Feeds all.")),
            {"help": {"feed": "Feeds all."}},
        )

    def test_nothing(self) -> None:
        self.assertIsNone(self.told(command("feed <user>")))

    def test_contradiction(self) -> None:
        with self.assertRaisesRegex(ServiceUnusable, "the service zoo: complete: feed animal"):
            self.told(command("feed <user> <animal>", complete={"animal": ("animal",)}))
