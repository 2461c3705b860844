"""Prompts for passwords, and confirmation of destructive commands and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bbs.client.request import FRAMEWORK, ClientRequest
from bbs.ui.interfaces import IScreen, UsageError
from bbs.ui.output import visible

CLEAR = "Ctrl-C again clears the line."
HOW_TO_END = "To leave, type exit or press Ctrl-D."


@dataclass(slots=True, eq=False, repr=False)
class KeyConfirmation:
    """Remembers the last key press that needed confirmation: the key, and what it would lose."""

    _asked: tuple[str, ...] | None = None

    def confirms(self, *press: str) -> bool:
        """Whether this press repeats the one before it; if not, ask about it now."""
        if self.is_new(*press):
            return False
        self._asked = None
        return True

    def is_new(self, *press: str) -> bool:
        """Whether this press differs from the last; remembers this one."""
        before, self._asked = self._asked, press
        return press != before


QUESTIONS: Mapping[str, tuple[int, int]] = {
    "login": (1, 1),
    "register": (1, 2),
    "change-password": (0, 3),
}
"""After how many words each command asks for passwords, and for how many (old, new, new again)."""

_WITH_PASSWORD = re.compile(r"\A([ /]*(?:(?:login|register) +[^ ]+|change-password)) .*", re.DOTALL)


def count_questions(line: str, users: bool = True) -> int:
    """How many passwords a line would ask for as a command, judged by its words; it may begin with
    a slash. `users`: an optional user name may stand before the arguments."""
    words = [word for word in line.split(" ") if word]
    name = words[0].removeprefix("/") if words else ""
    given, questions = QUESTIONS.get(name, (0, 0))
    # `change-password ann` asks as well.
    optional = 1 if users and name == "change-password" else 0
    return questions if given <= len(words) - 1 <= given + optional else 0


def changes_password(line: str) -> bool:
    """Whether a line changes a password; the password for logins does not answer its questions."""
    return line.lstrip(" /").partition(" ")[0] == "change-password"


def without_password(line: str) -> str:
    """A line for the history: `login` and `register` keep the name, `change-password` nothing."""
    return _WITH_PASSWORD.sub(r"\1", line)


NO_SPACES = "A name has no spaces. Type register NAME; the password is asked for next."
"""Who types `register Dave Müller` means a name. No account is made with `Müller` as its password,
which stood on the screen."""

AGAIN = "Repeat the password: "


def lacks_passwords(request: ClientRequest) -> bool:
    """Whether a request lacks only its passwords."""
    if request.name in ("login", "register"):
        return len(request.words) == 2
    return is_password_change(request) and len(request.words) == 2


def is_password_change(request: ClientRequest) -> bool:
    """Whether this is the framework's command, not a service's own of the same name."""
    change = FRAMEWORK["change-password"]
    return request.info is not None and request.info.is_same(change.command)


async def with_passwords(screen: IScreen, request: ClientRequest) -> str:
    """Ask for the passwords that a request lacks, and return the whole line. Raises `UsageError`
    for a malformed password, and `PromptCancelled`."""
    name = visible(request.words[1])
    if is_password_change(request):
        old = await _ask_word(screen, f"Old password for {name}: ")
        new = await _ask_new(screen, f"New password for {name}: ", "The old one stays.")
        return f"change-password {request.words[1]} {old} {new}"
    prompt = f"Password for {name}: "
    if request.name == "register":
        new = await _ask_new(screen, prompt, "No account was made.")
        return f"register {request.words[1]} {new}"
    return f"login {request.words[1]} {await _ask_word(screen, prompt)}"


async def _ask_new(screen: IScreen, prompt: str, otherwise: str) -> str:
    password = await _ask_word(screen, prompt)
    if await screen.ask_password(AGAIN) != password:
        raise UsageError(f"The passwords differ. {otherwise}")
    return password


async def _ask_word(screen: IScreen, prompt: str) -> str:
    password = await screen.ask_password(prompt)
    if not password or " " in password:
        raise UsageError("A password is one word, without spaces.")
    return password


TOO_SOON = 0.5
"""Seconds. A line that comes sooner after a question is not its answer: it was on its way before,
such as a line of a paste."""

FOR_EVER = "This deletes your account and everything in it, for ever. Type {} to confirm."


async def confirm_deletion(screen: IScreen, user: str) -> None:
    """Have the person type the name of the `user` who is to be deleted. Raises `UsageError` for any
    other answer, and `PromptCancelled`."""
    screen.notice(FOR_EVER.format(visible(user)))
    if (await screen.ask_line("Name: ")).strip(" ") != user:
        raise UsageError("Nothing was deleted.")


@dataclass(slots=True, eq=False, repr=False)
class Confirmation:
    """Requires that a destructive line is typed twice."""

    _asked: tuple[str | None, str] | None = None
    _confirmed: tuple[str | None, str] | None = None

    def next_line(self) -> None:
        """Begin a line, which can confirm only the line directly before it."""
        self._confirmed, self._asked = self._asked, None

    def ask(self, user: str | None, line: str, question: str) -> None:
        """Raise `UsageError` with the question, unless `user` typed the same line before it."""
        typed = user, line.strip(" ")
        if self._confirmed != typed:
            self._asked = typed
            raise UsageError(question)
