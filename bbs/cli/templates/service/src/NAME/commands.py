"""The commands and events: what they take and answer, and what people read."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.framework import Ask, Command, CommandTable, Event, Line, Listing, Role

from NAME import rules


@dataclass(frozen=True)
class Offer:
    """What somebody offers."""

    number: int
    text: str
    owner: str


@dataclass(frozen=True)
class Offers:
    """What is offered, the oldest first."""

    offer: list[Offer]


@dataclass(frozen=True)
class News:
    """What somebody did with an offer. Clients that do not know the event show its text."""

    who: str
    text: str
    time: float


async def announce(ask: Ask, news: rules.News) -> None:
    """Tell everybody who is online, and count what happened."""
    event, channels = news
    for channel in channels:
        await ask.tell(channel, event)
    ask.count(event["event"])


commands = CommandTable(
    Command(
        "offers <user>",
        Role.APP,
        rule=rules.offers,
        reply=Offers,
        refuses=(),
        help="Shows what is offered.",
        group="Offers",
        shown=(
            Listing("offer", "Nobody offers anything."),
            Line("{number}: {text} ({owner})"),
        ),
    ),
    Command(
        "offer <user> <text>",
        Role.APP,
        announce,
        rest=True,
        rule=rules.offer,
        refuses=(rules.TooLong,),
        help="Offers something to everybody.",
        group="Offers",
    ),
    Command(
        "take <user> <number:int>",
        Role.APP,
        announce,
        rule=rules.take,
        refuses=(rules.NoSuchOffer, rules.OwnOffer),
        help="Takes what somebody else offers.",
        group="Offers",
    ),
)

events = (
    Event("offered", News, shown=Line(time="time")),
    Event("taken", News, shown=Line(time="time")),
)
