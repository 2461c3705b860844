"""Passwords on the lines that people type: which are asked for, and what of a line may be kept."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
