"""The codes of failures of servers of version 0.1.0, which tell none. History: it never changes."""

from __future__ import annotations

from bbs.core.errors import NotLoggedIn, WrongCredentials
from bbs.protocols.commands import UnknownCommand, WrongUsage

ASK_LOGIN_SERVER = "ask-login-server"
"""The code of an app server's refusal of what is the login server's."""

_BEGINNINGS = (
    ("Ask the login server", ASK_LOGIN_SERVER),
    ("No such user or password error", WrongCredentials.code),
    ("Not login yet", NotLoggedIn.code),
    ("Unknown command ", UnknownCommand.code),
    ("Usage: ", WrongUsage.code),
)


def code_of(message: str) -> str | None:
    """The code of a failure that was told without one, as far as it matters to this client."""
    return next((code for words, code in _BEGINNINGS if message.startswith(words)), None)
