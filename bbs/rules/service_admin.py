"""Lists of a service's own things, and acts on them, for operators: a service declares both.

The page shows the lists, and carries out the acts on what is in them, without knowing what they
mean. The command line carries out the same acts, so that their rules and checks are written once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum

from bbs.core.values import is_for_threads
from bbs.rules import fleet_admin, user_admin
from bbs.rules.fleet_admin import By

MOST_DETAIL = 250  # Characters of what an act was done to that are kept.

MOST_POSITION = 1000  # Characters of a row's position: an address has it.

RESERVED = {
    *(fleet_admin.LAUNCH, fleet_admin.DRAIN, fleet_admin.REPLACE, fleet_admin.CANCEL_REPLACE),
    *(user_admin.SUSPEND, user_admin.RESUME, user_admin.KICK),
    *(user_admin.PASSWORD, user_admin.DELETE, "adopt", "backup", "restore"),
    "accept-clock",
}
"""The acts of every service."""

_NAME = re.compile("[a-z][a-z-]{0,19}")

Cell = str | float | None
"""A value in a row: a text, a number, or nothing."""

_NOT_FOR_FIELDS = {"now", "key", "again"}  # These say something else to a rule, or of a form.


class Kind(StrEnum):
    """What a column shows, or a field takes. `LINES` is a text of several lines; a `TIME` is in
    seconds since the epoch."""

    TEXT = "text"
    LINES = "lines"
    NUMBER = "number"
    TIME = "time"


@dataclass(frozen=True)
class OperatorColumn:
    """A column of a list, under `title`. Its `kind` is `text`, `lines` (a text of several lines),
    `number` or `time` (seconds since the epoch); another is a ValueError. A cell of a column of
    times or numbers may have a text instead."""

    title: str
    kind: str = Kind.TEXT

    def __post_init__(self) -> None:
        Kind(self.kind)  # A ValueError for another.


@dataclass(frozen=True)
class ListRow:
    """A row of a list.

    :param key: by what an act finds the thing; people may have to type it again.
    :param cells: one for each column; the first says what the row is.
    :param position: given to the list's rule for the rows that come next; "": the key. At most
        1,000 characters.
    """

    key: str
    cells: Sequence[Cell]
    position: str = ""


@dataclass(frozen=True)
class ActResult:
    """What an act did.

    :param on: what it was done to, for the record.
    :param members: more about it, for programs.
    :param rest: called each time in a transaction of its own, until it returns True, if there is
        too much for one.
    """

    on: str
    members: Mapping[str, object]
    rest: Callable[[], bool] | None = None


@dataclass(frozen=True)
class OperatorField:
    """A field of an act's form, under `label`; the rule gets it as its argument `name`. The `kind`
    is `text`, `lines` or `time`; another is a ValueError. Texts are a `str`, of at most `most`
    characters; a time is a `float`, seconds since the epoch, and to come. What is `optional` and
    left out is None."""

    name: str
    label: str
    kind: str = Kind.TEXT
    _: KW_ONLY
    most: int = MOST_DETAIL
    optional: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (Kind.TEXT, Kind.LINES, Kind.TIME):
            raise ValueError(f"{self.name}: a field takes text, lines or a time")


@dataclass(frozen=True)
class OperatorAct:
    """An act of operators on one of a service's things, and its words on the page.

    :param name: as recorded: a word in lower case of at most 20 characters, with hyphens.
    :param happened: what happened, behind an operator's name: "removed the wave {}". `{}` stands
        for what it was done to.
    :param rule: called as `rule(now, key, field=value, …)` in one transaction: `now` in seconds
        since the epoch, and the key of a row, "" for an act on no row. Returns an `ActResult`, or
        raises a `Refusal`. None: only the command line has the act.
    :param label: on the button.
    :param title: the question, above the form.
    :param means: says in a sentence what it does.
    :param fields: what it needs. Their names are identifiers that differ, and none of now, key and
        again.
    :param again: whether the key has to be typed again, as what is gone does not come back.
    :raises ValueError: the name, the rule or a field has another form.
    """

    name: str
    happened: str
    _: KW_ONLY
    rule: Callable[..., ActResult] | None = None
    label: str = ""
    title: str = ""
    means: str = ""
    fields: Sequence[OperatorField] = ()
    again: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in RESERVED:
            raise ValueError(f"{self.name!r} cannot be the name of a service's own act")
        if self.rule is not None and not (is_for_threads(self.rule) and self.label and self.title):
            raise ValueError(f"{self.name}: an act has a plain rule, a label and a title")
        names = {each.name for each in self.fields if each.name.isidentifier()} - _NOT_FOR_FIELDS
        if len(names) < len(self.fields):
            raise ValueError(f"{self.name}: two fields have one name, or one cannot have its name")

    def words(self, on: str) -> str:
        """What happened to `on`, in one line."""
        return self.happened.replace("{}", " ".join(on[:MOST_DETAIL].split()))


@dataclass(frozen=True)
class OperatorList:
    """A list of a service's things on the operators' page.

    :param name: a word in lower case, in the page's addresses.
    :param title: above the list.
    :param columns: at least one.
    :param rows: called as `rows(now, search, behind, limit)`; only reads. Returns at most `limit`
        rows: those with the text `search` in them, if the list can be searched, behind the row with
        the position `behind`. "" for each means all.
    :param means: says in a sentence what the list shows.
    :param search: the label of the field to search by; "": the list cannot be searched.
    :param acts: on a row.
    :param adds: acts on no row, such as adding one.
    :raises ValueError: the name or the rule has another form.
    """

    name: str
    title: str
    columns: Sequence[OperatorColumn]
    rows: Callable[[float, str, str, int], Sequence[ListRow]]
    _: KW_ONLY
    means: str = ""
    search: str = ""
    acts: Sequence[OperatorAct] = ()
    adds: Sequence[OperatorAct] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a name of a list: {_NAME.pattern}")
        if not (self.title and self.columns and is_for_threads(self.rows)):
            raise ValueError(f"{self.name}: a list has a title, columns and a plain rule")
        if any(each.rule is None for each in (*self.acts, *self.adds)):
            raise ValueError(f"{self.name}: an act of a list has a rule")


def perform(by: By, act: OperatorAct, key: str, fields: Mapping[str, object]) -> ActResult:
    """Carry out an act, which is recorded."""
    if act.rule is None:
        raise TypeError(f"{act.name} has no rule")
    result = act.rule(by.now, key, **fields)
    fleet_admin.record(by, act.name, detail=result.on[:MOST_DETAIL])
    return result
