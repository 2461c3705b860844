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

_OF_THE_LOGIN_SERVER = ("register", "login", "logout", "delete", "locate")
_OF_EITHER_SERVER = ("help", "ping", "quit", "events", "commands")

EVERY_SERVICE = frozenset((*_OF_THE_LOGIN_SERVER, "listen", *_OF_EITHER_SERVER))
"""What every service has, whatever else: nobody needs to be asked about these."""

WAITING = frozenset(("login", "locate"))
"""Of these, those whose answer may take as long as an app server takes to start: it comes on a
connection of its own, and delays nothing else."""

REPEATABLE = EVERY_SERVICE - {"register", "logout", "delete"}
"""Of these, those that may be sent again where it is not known whether they were carried out.
`login` is: a user who is online keeps the place "whoever asks and however often"."""


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
