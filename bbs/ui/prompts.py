"""Prompts for passwords, and for confirming what would lose or harm something."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bbs.client.request import FRAMEWORK, ClientRequest
from bbs.ui.interfaces import IScreen, UsageError
from bbs.ui.output import visible

CLEAR = "Ctrl-C again clears the line."
HOW_TO_END = "exit or Ctrl-D ends."


@dataclass(frozen=True)
class KeyPress:
    """A key, and all that would be lost by it."""

    key: str
    line: str
    under_way: str = ""


class KeyConfirmation:
    """Remembers which press was asked about last."""

    def __init__(self) -> None:
        self._asked: KeyPress | None = None

    def confirms(self, press: KeyPress) -> bool:
        """Whether this press answers the same one before it; else it is to be asked about now."""
        if self.is_new(press):
            return False
        self._asked = None
        return True

    def is_new(self, press: KeyPress) -> bool:
        """Whether something else was asked about last; now it is this press."""
        before, self._asked = self._asked, press
        return press != before


QUESTIONS: Mapping[str, tuple[int, int]] = {
    "login": (1, 1),
    "register": (1, 2),
    "change-password": (0, 3),
}
"""Behind how many words the command asks for passwords by itself, and for how many: an old one, a
new one, the new one again."""

_TO_KEEP = re.compile(r"\A([ /]*(?:(?:login|register) +[^ ]+|change-password)) .*", re.DOTALL)


def count_questions(line: str, users: bool = True) -> int:
    """How many passwords a line will ask for, if it is a command, as far as its words tell; in a
    talk it may begin with a slash. `users`: somebody's name may stand where it may be left out."""
    words = [word for word in line.split(" ") if word]
    name = words[0].removeprefix("/") if words else ""
    behind, many = QUESTIONS.get(name, (0, 0))
    # `change-password ann` is ann's, and asks as well.
    optional = 1 if users and name == "change-password" else 0
    return many if behind <= len(words) - 1 <= behind + optional else 0


def changes_password(line: str) -> bool:
    """Whether a line, if it is a command, gives somebody another password: the one that is kept
    for logging in is no answer then."""
    return line.lstrip(" /").partition(" ")[0] == "change-password"


def without_password(line: str) -> str:
    """What may be kept of a line as typed: `login` and `register` without what follows the name,
    `change-password` without anything."""
    return _TO_KEEP.sub(r"\1", line)


AGAIN = "The same once more: "


def lacks_passwords(request: ClientRequest) -> bool:
    """Whether a request lacks its passwords, and nothing else."""
    if request.name in ("login", "register"):
        return len(request.words) == 2
    return is_password_change(request) and len(request.words) == 2


def is_password_change(request: ClientRequest) -> bool:
    """Whether it is a change of a password, and not a service's own command of that name."""
    change = FRAMEWORK["change-password"]
    return request.info is not None and request.info.is_same(change.command)


async def with_passwords(screen: IScreen, request: ClientRequest) -> str:
    """The line of a request that `lacks_passwords`, with those that were typed unseen. `UsageError`
    for what is no password, and `PromptCancelled` when somebody will not say it."""
    name = visible(request.words[1])
    if is_password_change(request):
        old = await _ask_word(screen, f"Old password for {name}: ")
        new = await _ask_new(screen, f"New password for {name}: ", "changed")
        return f"change-password {request.words[1]} {old} {new}"
    prompt = f"Password for {name}: "
    if request.name == "register":
        return f"register {request.words[1]} {await _ask_new(screen, prompt, 'registered')}"
    return f"login {request.words[1]} {await _ask_word(screen, prompt)}"


async def _ask_new(screen: IScreen, prompt: str, done: str) -> str:
    password = await _ask_word(screen, prompt)
    if await screen.ask_password(AGAIN) != password:
        raise UsageError(f"These are two passwords; nothing was {done}.")
    return password


async def _ask_word(screen: IScreen, prompt: str) -> str:
    password = await screen.ask_password(prompt)
    if not password or " " in password:
        raise UsageError("A password is one word, without spaces.")
    return password


class Confirmation:
    """Whether somebody means what would do harm, or is a slip: it has to be typed twice."""

    __slots__ = ("_asked", "_confirmed")

    def __init__(self) -> None:
        self._asked: tuple[str | None, str] | None = None
        self._confirmed: tuple[str | None, str] | None = None

    def next_line(self) -> None:
        """Another line comes: it is the answer to what was asked at the one before, or to nothing
        any more."""
        self._confirmed, self._asked = self._asked, None

    def ask(self, user: str | None, line: str, question: str) -> None:
        """`UsageError` with the question, unless this line of `user`'s is the answer to it."""
        said = user, line.strip(" ")
        if self._confirmed != said:
            self._asked = said
            raise UsageError(question)
