"""What people are asked for: passwords, and to confirm what would lose or harm something."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bbs.client.request import FRAMEWORK, Typed
from bbs.ui.interfaces import IScreen, WrongUse
from bbs.ui.output import visible

CLEAR = "Ctrl-C again clears the line."
HOW_TO_END = "exit or Ctrl-D ends."


@dataclass(frozen=True)
class Press:
    """A key, and all that would be lost by it."""

    key: str
    line: str
    under_way: str = ""


class Asking:
    """Remembers what was asked last; `say` shows a question."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._asked: Press | None = None

    def confirmed(self, press: Press, question: str) -> bool:
        """Whether this was asked and is pressed again; else it is asked now."""
        if press == self._asked:
            self._asked = None
            return True
        self.once(press, question)
        return False

    def once(self, press: Press, words: str) -> None:
        """Say this, unless it was the last that was said."""
        if press != self._asked:
            self._asked = press
            self._say(words)


QUESTIONS: Mapping[str, tuple[int, int]] = {
    "login": (1, 1),
    "register": (1, 2),
    "change-password": (0, 3),
}
"""Behind how many words the command asks for passwords by itself, and for how many: an old one, a
new one, the new one again."""

_TO_KEEP = re.compile(r"\A([ /]*(?:(?:login|register) +[^ ]+|change-password)) .*", re.DOTALL)


def questions(line: str, users: bool = True) -> int:
    """How many passwords a line will ask for, if it is a command, as far as its words tell; in a
    talk it may begin with a slash. `users`: somebody's name may stand where it may be left out."""
    words = [word for word in line.split(" ") if word]
    name = words[0].removeprefix("/") if words else ""
    behind, many = QUESTIONS.get(name, (0, 0))
    # `change-password ann` is ann's, and asks as well.
    optional = 1 if users and name == "change-password" else 0
    return many if behind <= len(words) - 1 <= behind + optional else 0


def changes_one(line: str) -> bool:
    """Whether a line, if it is a command, gives somebody another password: the one that is kept
    for logging in is no answer then."""
    return line.lstrip(" /").partition(" ")[0] == "change-password"


def without_password(line: str) -> str:
    """What may be kept of a line as typed: `login` and `register` without what follows the name,
    `change-password` without anything."""
    return _TO_KEEP.sub(r"\1", line)


AGAIN = "The same once more: "


def asks(request: Typed) -> bool:
    """Whether a request lacks its passwords, and nothing else."""
    if request.name in ("login", "register"):
        return len(request.words) == 2
    return is_change(request) and len(request.words) == 2


def is_change(request: Typed) -> bool:
    """Whether it is a change of a password, and not a service's own command of that name."""
    change = FRAMEWORK["change-password"]
    return request.offer is not None and request.offer.is_same(change.command)


async def with_passwords(screen: IScreen, request: Typed) -> str:
    """The line of a request that `asks`, with what was typed unseen; `WrongUse` when that is none,
    and `GivenUp` when somebody will not say it."""
    name = visible(request.words[1])
    if is_change(request):
        old = await _word(screen, f"Old password for {name}: ")
        new = await _new(screen, f"New password for {name}: ", "changed")
        return f"change-password {request.words[1]} {old} {new}"
    prompt = f"Password for {name}: "
    if request.name == "register":
        return f"register {request.words[1]} {await _new(screen, prompt, 'registered')}"
    return f"login {request.words[1]} {await _word(screen, prompt)}"


async def _new(screen: IScreen, prompt: str, done: str) -> str:
    password = await _word(screen, prompt)
    if await screen.ask_password(AGAIN) != password:
        raise WrongUse(f"These are two passwords; nothing was {done}.")
    return password


async def _word(screen: IScreen, prompt: str) -> str:
    password = await screen.ask_password(prompt)
    if not password or " " in password:
        raise WrongUse("A password is one word, without spaces.")
    return password


class Sure:
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
        """`WrongUse` with the question, unless this line of `user`'s is the answer to it."""
        said = user, line.strip(" ")
        if self._confirmed != said:
            self._asked = said
            raise WrongUse(question)
