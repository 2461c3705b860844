"""The words before the line being typed: who speaks, where, and what waits to be read.

    127.0.0.1:22222, no user>
    ann, waiting for a server: place 3, about 24 s>
    ann@127.0.0.1:22223 [bob 2, #chess 1]>
    ann→#chess>

A narrow terminal gets fewer of them, so that there is room to type in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wcwidth import wcwidth

from bbs.client.values import Waiting
from bbs.core.addresses import Address
from bbs.ui.conversation import Status
from bbs.ui.talk import Partner
from bbs.ui.text import visible


@dataclass(frozen=True)
class Situation:
    """What a prompt tells of; `elsewhere` counts what other users here have not read."""

    login_server: Address
    user: str | None = None
    talk: Partner | None = None
    status: Status = field(default_factory=Status)
    unread: Mapping[Partner, int] = field(default_factory=dict)
    elsewhere: int = 0


ROOM = 30
"""Columns that are left to type in; half of them all where there are fewer than twice as many."""


def prompt(situation: Situation, columns: int) -> str:
    """The longest prompt for so many columns; a name that is too long is cut."""
    room = max(1, columns // 2, columns - ROOM)
    for text in _from_long_to_short(situation):
        if width(text) + 2 <= room:
            return f"{text}> "
    return f"{_cut(_who(situation), room - 2)}> "


def partner_name(talk: Partner) -> str:
    """A partner as the prompt and messages name them."""
    return f"{'#' if talk.is_room else ''}{visible(talk.name)}"


def width(text: str) -> int:
    """The columns that `text` takes, each character drawn for itself."""
    return sum(max(0, wcwidth(character)) for character in text)


def _from_long_to_short(situation: Situation) -> Iterator[str]:
    who, state, unread = _who(situation), _state(situation), situation.unread
    counts = [f"{partner_name(talk)} {count}" for talk, count in unread.items()]
    others = [f"others {situation.elsewhere}"] if situation.elsewhere else []
    listed = ", ".join([*counts, *others])
    total = sum(unread.values()) + situation.elsewhere
    long = f" [{listed}]" if listed else ""
    short = f" [{total}]" if total else ""
    if situation.user is None and not state:
        yield f"{situation.login_server}, no user{long}"
        yield f"no user{short}"
    elif state:
        yield f"{who}, {state}{long}"
        yield f"{who}, {state}"
        yield f"{who}, {state.partition(',')[0]}"
        yield f"{who}, {state.partition(' ')[0]}"
    elif situation.talk is None and situation.status.server is not None:
        yield f"{who}@{situation.status.server}{long}"
    yield f"{who}{long}"
    yield f"{who}{short}"
    yield who


def _who(situation: Situation) -> str:
    user = "no user" if situation.user is None else visible(situation.user)
    return f"{user}→{partner_name(situation.talk)}" if situation.talk else user


def _state(situation: Situation) -> str:
    """What is not as it should be; empty when all is well."""
    if situation.status.waiting is not None:
        return _waiting(situation.status.waiting)
    return "server lost" if situation.status.lost else ""


def _waiting(waiting: Waiting) -> str:
    estimate = "" if waiting.seconds is None else f", about {waiting.seconds:.0f} s"
    return f"waiting for a server: place {waiting.position}{estimate}"


def _cut(text: str, room: int) -> str:
    """As much of the beginning of `text` as leaves room for the mark that says so."""
    while text and width(text) >= room:
        text = text[:-1]
    return f"{text}…" if room > 0 else ""
