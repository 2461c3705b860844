"""The commands that this client is written for: those that `BBSClient` has methods for, and that
completion and talks understand.

A service may mean something else by one of these names, or lack it as servers of version 0.1.0 do:
what there is, the service says itself (`bbs.client.vocabulary`).
"""

from __future__ import annotations

from collections.abc import Mapping

from bbs.client.commands import Offer
from bbs.client.oldest import OLDEST
from bbs.protocols.commands import Command, Role

UNLISTED: Mapping[str, Offer] = {
    "more": Offer(Command("more <user> <cursor>", Role.APP), harmless=True),
    "history-group": Offer(Command("history-group <user> <group>", Role.APP), harmless=True),
}
"""What servers have that say what they have, and that is in no list of theirs."""

FAMILIAR: Mapping[str, Offer] = {
    **OLDEST,
    "history-group": UNLISTED["history-group"],
    **{
        offer.name: offer
        for offer in (
            Offer(Command("change-password <user> <old> <new>", Role.LOGIN)),
            Offer(Command("history <user> <name>", Role.APP), harmless=True),
            Offer(Command("who <user>", Role.APP), harmless=True),
            Offer(Command("unfriend <user> <friend>", Role.APP)),
            Offer(Command("decline-invite <user> <id>", Role.APP)),
            Offer(Command("block <user> <id>", Role.APP)),
            Offer(Command("unblock <user> <id>", Role.APP)),
            Offer(Command("list-block <user>", Role.APP), harmless=True),
            Offer(Command("leave-group <user> <group>", Role.APP)),
            Offer(Command("list-member <user> <group>", Role.APP), harmless=True),
        )
    },
}

HISTORIES = ("history", "history-group")
"""The commands for what was said before; the second is for a group that is called as a friend."""
