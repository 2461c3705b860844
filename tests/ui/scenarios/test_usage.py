"""How a command is used: people read what to type, the hint and `help` say which arguments there
are."""

from __future__ import annotations

from bbs.ui import completion
from bbs.ui.wording import typing_line
from tests.ui.test_conversation import ConversationCase


class UsageTests(ConversationCase):
    def says_the_same(self, *lines: str) -> None:
        for line in lines:
            (told,) = self.type(line)
            hint = completion.hint(self.conversation, line)
            self.assertEqual(told, typing_line(hint))
            self.assertIn(hint, "\n".join(self.type("help")))

    def test_before_a_login(self) -> None:
        self.says_the_same("login", "login a b c", "register")
        self.assertEqual(self.type("login"), ["Type: login NAME"])

    def test_after_one(self) -> None:
        """Where whose it is need not be typed."""
        self.type("login ann pw")
        self.says_the_same("login", "register", "send", "invite bob bob")


class AloneTests(UsageTests):
    alone = True

    def test_after_one(self) -> None:
        self.type("login ann pw")
        self.says_the_same("register", "send", "invite bob bob")
