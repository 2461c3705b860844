"""What servers of version 0.1.0 had, which could not say it themselves. History: it never changes.

Those servers know no `commands`, and their failures have no `code`. A client that meets one goes by
what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping

from bbs.client.commands import Offer
from bbs.errors import NotLoggedIn, WrongCredentials
from bbs.protocols.commands import Command, Role, UnknownCommand, WrongUsage

ASK_LOGIN_SERVER = "ask-login-server"
"""The code of an app server's refusal of what is the login server's."""

OLDEST: Mapping[str, Offer] = {
    offer.name: offer
    for offer in (
        Offer(Command("register <id> <password>", Role.LOGIN)),
        Offer(Command("login <id> <password>", Role.LOGIN), harmless=True),
        Offer(Command("logout <user>", Role.LOGIN)),
        Offer(Command("delete <user>", Role.LOGIN)),
        Offer(Command("locate <user>", Role.LOGIN), harmless=True),
        Offer(Command("invite <user> <id>", Role.APP)),
        Offer(Command("list-invite <user>", Role.APP), harmless=True),
        Offer(Command("accept-invite <user> <id>", Role.APP)),
        Offer(Command("list-friend <user>", Role.APP), harmless=True),
        Offer(Command("post <user> <message>", Role.APP, rest=True)),
        Offer(Command("receive-post <user>", Role.APP), harmless=True),
        Offer(Command("send <user> <friend> <message>", Role.APP, rest=True)),
        Offer(Command("create-group <user> <group>", Role.APP)),
        Offer(Command("list-group <user>", Role.APP), harmless=True),
        Offer(Command("list-joined <user>", Role.APP), harmless=True),
        Offer(Command("join-group <user> <group>", Role.APP)),
        Offer(Command("send-group <user> <group> <message>", Role.APP, rest=True)),
        Offer(Command("listen <user> [<id>]", Role.APP), harmless=True),
        Offer(Command("help", Role.EITHER), harmless=True),
        Offer(Command("ping", Role.EITHER), harmless=True),
        Offer(Command("quit", Role.EITHER), harmless=True),
        Offer(Command("events", Role.EITHER), harmless=True),
    )
}

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
