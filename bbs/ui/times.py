"""How a time is written for people: `14:03`, and a line where another day begins.

What a server says is in seconds since the epoch, by the clock of whoever stored it; a person reads
it by the clock on the wall. Pure: the clock and the zone are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
"""Not by the locale: a page in English has its days in English, and other people's terminals at a
gateway have nothing to do with the locale of its machine."""


@dataclass(frozen=True)
class Stamp:
    """When something was said. `day` is `Thursday 26 November 2026` where that is another day than
    the one before was, and else empty; `time` is `14:03`. Both are empty where it is not known."""

    day: str = ""
    time: str = ""


class Times:
    """Writes times for one person, in the order in which that person reads them.

    `wall` is the clock that is stamped by, in seconds since the epoch, and `zone` where the person
    is; without one that is where this machine is.
    """

    __slots__ = ("_day", "_wall", "_zone")

    def __init__(self, wall: Callable[[], float], zone: tzinfo | None = None) -> None:
        self._wall = wall
        self._zone = zone
        self._day = self._today()

    def stamp(self, seconds: float | None) -> Stamp:
        """What to write before what was said then. It is what is read next: the day of the one
        after it is compared with this one's."""
        moment = self._moment(seconds)
        if moment is None:
            return Stamp()
        before, self._day = self._day, moment.date()
        return Stamp("" if self._day == before else _day(moment), f"{moment:%H:%M}")

    def now(self) -> Stamp:
        """The same for what happens right now."""
        return self.stamp(self._wall())

    def since(self, seconds: float) -> str:
        """A time beside others, in few words: `14:03` is today's, `25 November 14:03` this year's;
        of another year it is the day. Empty where it is no time that a calendar has."""
        moment, today = self._moment(seconds), self._today()
        if moment is None:
            return ""
        if moment.date() == today:
            return f"{moment:%H:%M}"
        day = f"{moment.day} {_MONTHS[moment.month - 1]}"
        same = today is not None and moment.year == today.year
        return f"{day} {moment:%H:%M}" if same else f"{day} {moment.year}"

    def _today(self) -> date | None:
        moment = self._moment(self._wall())
        return moment.date() if moment else None

    def _moment(self, seconds: float | None) -> datetime | None:
        if seconds is None:
            return None
        try:
            return datetime.fromtimestamp(seconds, self._zone)
        except (OverflowError, ValueError, OSError):  # Beyond the calendar, or not a number.
            return None


def _day(moment: datetime) -> str:
    return f"{_DAYS[moment.weekday()]} {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
