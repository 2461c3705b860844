"""A service that no client was written for: a fair with stalls, a square and a desk.

What its commands answer, the tests say.
"""

from __future__ import annotations

from collections.abc import Mapping

from bbs.board import BBSClient
from bbs.framework import (
    Ask,
    ChatEvent,
    Choices,
    CommandTable,
    Line,
    Listing,
    Notice,
    Presentation,
    Reply,
    Role,
    Service,
    Talk,
    success,
)
from bbs.ui.conversation import Conversation
from tests.client.case import LOGIN
from tests.client.test_catalog import Noting
from tests.ui.test_conversation import ConversationCase, Paper

fair = Presentation(
    help={"haggle": "Haggles\x1b at a stall.", "ping": "Knocks."},
    groups={"Stalls": ["stalls", "open", "haggle"], "Pals": ["pals", "tell"]},
    aliases={"h": "haggle", "p": "pals", "visit": "pals", "t": "tell"},
    choices=[
        Choices(
            "stall",
            label="a stall",
            ask="stalls",
            lists={"stalls": "stall"},
            key="name",
            parameters=["stall"],
            added_by=["open"],
            removed_by=["shut", "burn"],
            added_by_events={"opened": "stall"},
            removed_by_events={"closed": "stall"},
            within="place",
        ),
        Choices("place", ask="places", lists={"places": "place"}, shared=True),
        Choices(
            "pal",
            ask="pals",
            lists={"pals": "pal"},
            parameters=["pal"],
            added_by=["befriend"],
            removed_by=["drop"],
            removed_by_events={"dropped": "by"},
        ),
    ],
    complete={"visit place": ["place", "-stall"], "befriend pal": []},
    lists=[
        Listing("stall", "No stall is open"),
        Listing("pal", "No pals"),
        Listing("tale", "No tales", backwards=True),
        Listing("news", "No news", recent=True),
    ],
    lines=[
        Line("{name}: {goods.best}", when={"open": True}, time="since"),
        Line("{name}, shut since {until:time}"),
        Line(when={"kind": "note"}, time="at"),
    ],
    chats=[
        ChatEvent("told", sender="by", text="words", to="for", room="", id="number"),
        ChatEvent("mine", sender="by", text="words", to="for", id="number", own=True),
        ChatEvent("haggled", sender="by", text="words", room="stall", id="", talk="stall"),
        ChatEvent("shouted", sender="by", text="words", room="where", id="", talk="square"),
        ChatEvent("answered", sender="by", text="words", to="for", id="", talk="desk"),
    ],
    events={
        "rain": Line("It rains since {since:time}", time="since"),
        "opened": Line(time="at"),
    },
    talks=[
        Talk("pal", send="tell", choices="pal", history="tales"),
        Talk("stall", send="haggle", choices="stall", room=True, line="[{to}] {sender}: {text}"),
        Talk("square", send="shout", history="shouts", ended_by=["go-home"], room=True),
        Talk("desk", send="ask-desk"),
    ],
    notices=[
        Notice("waiting.pals", "{} pal waits", "{} pals wait", most=10),
        Notice("rides", "one ride", "{} rides"),
    ],
    after="waiting.after",
)


class Fair(Noting):
    """`noted` is what was asked: the command, who and the words. `replies` are what commands answer
    by name, and `at_login` what a login does beside its own."""

    def declare(self) -> None:
        self.replies: dict[str, Mapping[str, object]] = {
            "stalls": {"stall": [{"name": "toys"}, {"name": "tea"}]},
            "places": {"place": ["gate", "tea", "hill"]},
            "pals": {"pal": ["bob", "cat"]},
            "tales": {"tale": []},
            "shouts": {"tale": []},
        }
        self.at_login: Mapping[str, object] = {}
        for usage in (
            *("stalls <user>", "places <user>", "pals <user>", "news <user>"),
            *("open <user> <stall>", "shut <user> [<stall>]", "visit <user> <place>"),
            *("befriend <user> <pal>", "drop <user> <pal>", "go-home <user>"),
            "use <user> <stall>",
        ):
            self.have(usage)
        for usage in (
            *("tell <user> <pal> <words>", "haggle <user> <stall> <words>"),
            *("shout <user> <words>", "ask-desk <user> <words>"),
        ):
            self.have(usage, rest=True)
        self.have("burn <user> <stall>", rest=True)
        self.have("tales <user> <pal>")
        self.have("shouts <user>", listed=False)

    def have(self, usage: str, *, rest: bool = False, listed: bool = True) -> None:
        """Have a command; those that have an answer change nothing."""
        harmless = usage.split(" ")[0] in self.replies

        @self.table.command(usage, Role.APP, rest=rest, listed=listed, harmless=harmless)
        async def note(ask: Ask, *words: str) -> Reply:
            name = ask.command.name
            self.noted.append((name, ask.user.name, *words))
            return Reply({"status": 0, **self.replies[name]}) if name in self.replies else success()

    def service_with(self, table: CommandTable) -> Service:
        return Service(
            "fair",
            commands=(table,),
            client="tests.ui.fair:fair",
            on_login=lambda user, last: self.at_login,
        )


class FairConversation(Fair, ConversationCase):
    def acquaint(self) -> None:
        """Nobody need be."""

    def log_in_here(self, *names: str) -> None:
        """Log these in at this terminal, and forget what was shown and asked."""
        for name in names:
            self.type(f"login {name} pw")
        self.paper.lines.clear()
        self.noted.clear()

    def said(self, name: str = "tell") -> list[tuple[str, ...]]:
        """What was asked by a command."""
        return [words for command, *words in self.noted if command == name]  # type: ignore[misc]

    def another(self, user: str) -> tuple[Conversation, Paper]:
        """Another terminal, at which a user is logged in."""
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        paper = Paper(client.vocabulary)
        conversation = Conversation(client, paper)
        self.addCleanup(conversation.close)
        self.result(conversation.carry_out(f"login {user} pw"))
        self.network.flush()
        paper.lines.clear()
        return conversation, paper
