"""Shorter names of commands, for people, and what somebody meant who typed none there is.

A service's own command comes first, whatever its name; and no alias leads to a command that the
service means something else by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from bbs.client.commands import Offer
from bbs.client.familiar import FAMILIAR, UNLISTED

ALIASES: Mapping[str, str] = {"msg": "send", "friends": "list-friend", "w": "who"}
"""As irssi and other chats, and Unix, call them."""

ALIKE = 0.6
"""How alike two words are, from 0 to 1, of which one may have been meant by the other: `difflib`'s
own measure of close matches."""


def meant(word: str, offers: Mapping[str, Offer]) -> str:
    """The command that a first word names: itself, if it is no alias here."""
    command = ALIASES.get(word, "")
    if command in offers and word not in offers and is_familiar(offers[command]):
        return command
    return word


def aliases_of(name: str, offers: Mapping[str, Offer]) -> list[str]:
    """By what else a command can be typed."""
    return [alias for alias in ALIASES if alias != name and meant(alias, offers) == name]


def is_familiar(offer: Offer) -> bool:
    """Whether a service's command is the one of that name that this client is written for."""
    ours = FAMILIAR.get(offer.name)
    return ours is not None and ours.command == offer.command


def suggestion(word: str, names: Iterable[str]) -> str:
    """The name that was meant by a word that is none; empty where that cannot be told."""
    if word in UNLISTED:
        return ""
    return next(iter(get_close_matches(word, [*names], 1, ALIKE)), "")
