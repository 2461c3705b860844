"""The conversation in `docs/people.md` is what two people type and see at their terminals."""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred

from bbs.board import BBSClient
from bbs.board.client import face
from bbs.client.catalog import CommandCatalog
from bbs.ui.terminal.app import TerminalApp
from bbs.ui.terminal.theme import Theme
from tests.client.case import LOGIN, ClientTestCase
from tests.paths import CHECKOUT
from tests.ui.terminal.test_app import Typist

PAGE = CHECKOUT / "docs/people.md"

_BLOCK = re.compile(r"^(?P<name>\w+)'s terminal[^\n]*:\n\n```text\n(?P<text>.*?)^```$", re.S | re.M)
_TYPED = re.compile(r"[^<>]*> (?P<typed>.+)")


def words(text: str) -> list[str]:
    """The words of a text, whatever the port and the time, and wherever a terminal wraps lines."""
    text = re.sub(r"^\d\d:\d\d(?= )", "TIME", text, flags=re.M)
    return re.sub(r"(?<=127\.0\.0\.1)([: ])\d{4,5}", r"\1PORT", text).split()


class Person:
    """Somebody at a terminal, and what came there since the last block."""

    def __init__(self, case: People, name: str) -> None:
        self.case = case
        client = BBSClient(case.clock, LOGIN, case.network.endpoint)
        case.addCleanup(client.close)
        theme = Theme(CommandCatalog(face), case.clock.seconds)
        self.app = TerminalApp(case.clock, client, LOGIN, self.sit_down, None, theme=theme)
        self.running = Deferred.fromCoroutine(self.app.run())
        case.network.flush()

    def sit_down(self, app: TerminalApp) -> Typist:
        self.typist = Typist(app)
        return self.typist

    def sees(self, block: str) -> str:
        """What the terminal shows when the person types what a block has typed."""
        seen = [] if block.startswith("$ ") else self.printed()
        for line in block.splitlines():
            if line.startswith("$ "):
                seen += [line, *self.printed()]
            elif self.typist.asked != "line" and line == self.typist.asked.rstrip():
                seen += [line, *self.enters("secret")]
            elif typed := _TYPED.fullmatch(line):
                seen += [self.app.prompt(80, True) + typed["typed"], *self.enters(typed["typed"])]
        return "\n".join(seen)

    def enters(self, text: str) -> list[str]:
        self.typist.enter(text)
        self.case.network.advance(0.1)
        return self.printed()

    def printed(self) -> list[str]:
        said = [*self.typist.printed]
        self.typist.printed.clear()
        return said


class People(ClientTestCase):
    def test_both_sides_of_an_invitation(self) -> None:
        people: dict[str, Person] = {}
        blocks = _BLOCK.findall(PAGE.read_text())
        self.assertGreater(len(blocks), 3)
        for name, block in blocks:
            if name not in people:
                people[name] = Person(self, name)
            seen = people[name].sees(block)
            self.assertEqual(words(seen), words(block), f"{name} sees:\n{seen}")
        for person in people.values():
            self.assertEqual(person.printed(), [])
