"""Announcements: what operators tell everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import peewee

from bbs.board.announcements.tables import Announcement
from bbs.board.lists import padded
from bbs.framework import Refusal, for_update, read_only
from bbs.framework.fast import statement
from bbs.framework.feeds import Broadcast, Stored

MOST = 20  # Announcements at a time.
MOST_TEXT = 2000  # Characters of one.


class TooMany(Refusal):
    text = "there are {} announcements already"
    code = ""  # Only operators are told, in words.


class NoSuchAnnouncement(Refusal):
    text = "there is no announcement {}"
    code = ""


class Announced(NamedTuple):
    """An announcement; its times are in seconds since the epoch. `until` is None for one that stays
    until it is removed."""

    number: int
    text: str
    time: float
    until: float | None

    @property
    def entry(self) -> dict[str, object]:
        """The announcement in a reply."""
        return {"announcement": self.number, "text": self.text, "time": self.time}


def add(text: str, now: float, until: float | None = None) -> int:
    """Announce a text; returns its number. Announcements that have ended are removed.

    :raises TooMany: there are `MOST` that have not ended.
    """
    if sum(_goes_on(end, now) for _, end in _locked()) >= MOST:
        raise TooMany(MOST)
    _remove_ended(now)
    return _add(text, now, until)


def remove(number: int) -> None:
    """Remove an announcement.

    :raises NoSuchAnnouncement: there is none with this number.
    """
    if not _remove(number):
        raise NoSuchAnnouncement(number)


@read_only
def current(now: float) -> list[dict[str, object]]:
    """The announcements that have not ended, oldest first, as replies have them."""
    return [each.entry for each in listed(now)]


@read_only
def listed(now: float) -> list[Announced]:
    """The announcements that have not ended, oldest first."""
    found = [Announced(*row) for row in _all(0)]
    return [each for each in found if _goes_on(each.until, now)]


@read_only
def _current_numbers(now: float) -> list[int]:
    return [number for number, until in _ends(0) if _goes_on(until, now)]


@read_only
def _events(numbers: Sequence[int]) -> list[Stored]:
    found = [Announced(*row) for row in _some(padded(numbers))]
    return [Stored(each.number, {"event": "announcement", **each.entry}) for each in found]


BROADCAST = Broadcast(_current_numbers, _events)


def _goes_on(until: float | None, now: float) -> bool:
    return until is None or until > now


# A condition on the key lets the database use its index, as every query must.


def _columns() -> Any:
    return Announcement.select(
        Announcement.id, Announcement.text, Announcement.stored, Announcement.until
    )


@statement
def _all(after: int) -> peewee.Select:
    found: peewee.Select = _columns().where(Announcement.id > after).order_by(Announcement.id)
    return found


@statement
def _some(numbers: Sequence[int]) -> peewee.Select:
    found: peewee.Select = _columns().where(Announcement.id.in_(numbers))
    return found


@statement
def _ends(after: int) -> peewee.Select:
    numbers = Announcement.select(Announcement.id, Announcement.until)
    return numbers.where(Announcement.id > after).order_by(Announcement.id)


@statement
def _locked() -> peewee.Select:
    """All announcements: two operators who announce at once do so one after the other."""
    locked: peewee.Select = for_update(Announcement.select(Announcement.id, Announcement.until))
    return locked


@statement
def _add(text: str, stored: float, until: float | None) -> peewee.Insert:
    return Announcement.insert(text=text, stored=stored, until=until)


@statement
def _remove(number: int) -> peewee.Delete:
    return Announcement.delete().where(Announcement.id == number)


@statement
def _remove_ended(now: float) -> peewee.Delete:
    return Announcement.delete().where(Announcement.until <= now)
