"""The commands of a service, as a client has them from it.

A service says by `commands` (`docs/protocol.md`, section 3) what it has, so a client handles
commands that it was not written for. What a server says of them is foreign text: one that is no
command's usage is passed over, and there are bounds for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bbs.protocols.commands import Command, Role

MOST_OFFERS = 1000
"""Commands that are taken from a server; what follows in its list is passed over."""

MOST_USAGE = 1000
"""Characters in the longest usage that is taken."""


@dataclass(frozen=True)
class Offer:
    """A command that a service has. `harmless`: twice is as good as once, so that it may be sent
    again when its answer was lost."""

    command: Command
    harmless: bool = False

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def usage(self) -> str:
        return self.command.usage

    def is_same(self, other: Command) -> bool:
        """Whether it is used as another command is."""
        ours = self.command
        return (ours.usage, ours.role, ours.rest) == (other.usage, other.role, other.rest)


def offered(*commands: Command) -> Mapping[str, Offer]:
    """Commands by name, as a client has them."""
    return {command.name: Offer(command, command.harmless) for command in commands}


BASICS: Mapping[str, Offer] = offered(
    Command("register <id> <password>", Role.LOGIN),
    Command("login <id> <password>", Role.LOGIN, harmless=True),
    Command("logout <user>", Role.LOGIN),
    Command("delete <user>", Role.LOGIN),
    Command("locate <user>", Role.LOGIN, harmless=True),
    Command("listen <user> [<id>]", Role.APP, harmless=True),
    Command("help", Role.EITHER, harmless=True),
    Command("ping", Role.EITHER, harmless=True),
    Command("quit", Role.EITHER, harmless=True),
    Command("events", Role.EITHER, harmless=True),
)
"""The commands that services of every version list."""

FRAMEWORK: Mapping[str, Offer] = {
    **BASICS,
    **offered(
        Command("change-password <user> <old> <new>", Role.LOGIN),
        Command("more <user> <cursor>", Role.APP, harmless=True, listed=False),
    ),
}
"""The framework's commands in this version."""

EVERY_SERVICE = frozenset((*BASICS, "commands"))
"""The commands of every service; a client need not ask for them."""

WAITING = frozenset(("login", "locate"))
"""The commands that may take as long as an app server takes to start. Each has a connection of its
own, and delays nothing else."""

REPEATABLE = EVERY_SERVICE - {"register", "logout", "delete"}
"""The commands that a client may repeat after a lost reply. `login` is one: a user who is online
keeps the place "whoever asks and however often"."""


def read_offers(value: object) -> Mapping[str, Offer] | None:
    """The commands in the member `commands` of an answer, by name; None when it is no list.

    Those of the login server come first, then the app servers', then either's, as in every help.
    """
    if not isinstance(value, list):
        return None
    offers: dict[str, Offer] = {}
    for told in value[:MOST_OFFERS]:
        offer = _read(told)
        if offer is not None:
            offers.setdefault(offer.name, offer)
    return in_order(offers)


def in_order(offers: Mapping[str, Offer]) -> Mapping[str, Offer]:
    """Commands as every help has them: the login server's, the app servers', then either's."""
    servers = [*Role]
    ordered = sorted(offers.values(), key=lambda offer: servers.index(offer.command.role))
    return {offer.name: offer for offer in ordered}


def _read(told: object) -> Offer | None:
    if not isinstance(told, dict):
        return None
    usage, server = told.get("usage"), told.get("server")
    if not isinstance(usage, str) or not isinstance(server, str) or len(usage) > MOST_USAGE:
        return None
    try:
        command = Command(usage, Role(server), rest=told.get("rest") is True)
    except ValueError:
        return None
    return Offer(command, told.get("harmless") is True)
