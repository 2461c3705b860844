"""Forms: how clients show one line or one list, as data, and the checks of what is declared.

The members of an event, of an entry and of the reply to `login` are named by paths: `"time"`, or
`"waiting.after"` for a member of a member. An event's key is its name, or `"EVENT MEMBER"` for
those events that have a member (`of_event`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from reprlib import repr as short
from typing import Any, TypeVar

MOST_TEXT = 1000  # characters in one text
MOST_ITEMS = 1000  # items in one list or mapping
MOST_LINES = 100  # forms: a client may compare each entry of a long list with all of them
MOST_PLACES = 20  # members in one form, each once: twice the text would take twice the memory

_PLACE = re.compile(r"\{([A-Za-z_][\w.]*)(:text|:time)?\}")

T = TypeVar("T")


def member(members: Mapping[str, object], path: str, default: object = None) -> object:
    """The member at a path; `default` without a member or a path."""
    if "." not in path:  # As in most paths, of which each message needs eight.
        return members.get(path, default) if path else default
    found: object = members
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return default
        found = found.get(name, default)
    return found


def of_event(declared: Mapping[str, T], event: Mapping[str, object], default: T) -> T:
    """What is `declared` for an event: first for one with such a member (not null), then for its
    name."""
    name = str(event.get("event"))
    for each, value in event.items():
        if value is not None and (key := f"{name} {each}") in declared:
            return declared[key]
    return declared.get(name, default)


@dataclass(frozen=True)
class Line:
    """The form of one line: for an entry of a list, or for an event.

    :param text: `{name}` stands for the member of that name, `{name:time}` for a member in seconds
        since the epoch, as a date. The line fits only if each of them is a text or a number, and
        each `{name:text}` a text. A member stands there once.
    :param when: members that must have these values for the line to fit.
    :param time: the member with the time of the line, in seconds since the epoch.
    :param has: members that must exist for the line to fit, with any value.
    :param once: for an event, the member with its number: a client passes on one event of each.
    :param shown: the text for people at a terminal or a gateway, if scripts print another.
    :param by: for an event, the member with the name of the person who did what it tells. That
        person does not read it where it was done, as the reply said so: where the last argument of
        a command of the last seconds is a member of the event.
    :param many: for an event, what these people read in place of several with the same words that
        come within a second, and `{}` stands for their number.
    """

    text: str = ""
    when: Mapping[str, str | bool] = field(default_factory=dict)
    time: str = ""
    has: Sequence[str] = ()
    once: str = ""
    shown: str = ""
    many: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        check(self)
        check_form("Line: text", self.text)
        check_form("Line: shown", self.shown)
        check_form("Line: many", self.many)

    def filled(
        self, members: Mapping[str, object], date: Callable[[float], str], shown: bool = False
    ) -> str | None:
        """The text for these members; None if the line does not fit. `date` formats a time.
        `shown`: for people at a terminal or a gateway."""
        for path, wanted in self.when.items():
            found = member(members, path)
            if type(found) is not type(wanted) or found != wanted:  # For Python, 1 is True.
                return None
        if any(member(members, path, MISSING) is MISSING for path in self.has):
            return None
        text = _filled(self.text, members, date)
        if text is None or not (shown and self.shown):
            return text
        return _filled(self.shown, members, date)

    def repeated(
        self, members: Mapping[str, object], date: Callable[[float], str], times: int
    ) -> str | None:
        """The words of `many` for `times` events of these members; None without such words. `date`
        formats a time, of seconds since the epoch."""
        form = self.many.replace("{}", f"{times:,}")
        return _filled(form, members, date) if form else None


@dataclass(frozen=True)
class Listing:
    """How clients show a list of a reply.

    :param name: the member of the reply that holds the list.
    :param empty: the words for an empty list.
    :param backwards: the first part holds the latest entries, and `more` brings older ones.
    :param recent: people want the first part only; clients do not ask for the others.
    :param forwards: commands whose list of this name is not `backwards`: `more` goes on with it.
    :param empties: what people read in place of `empty` after some commands, by command.
    """

    name: str
    empty: str = ""
    backwards: bool = False
    recent: bool = False
    forwards: Sequence[str] = ()
    empties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self, "name")


def is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT


def list_of(is_good: Callable[[object], bool]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, list | tuple) or len(value) > MOST_ITEMS:
            return False
        return all(map(is_good, value))

    return check


def mapping_of(is_good: Callable[[object], bool]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, Mapping) or len(value) > MOST_ITEMS:
            return False
        return all(is_text(name) and is_good(each) for name, each in value.items())

    return check


def instance_of(kind: type[Any]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


are_texts = list_of(is_text)

ENTRIES: Mapping[str, Callable[[object], bool]] = {
    "Mapping[str, str]": is_text,
    "Mapping[str, str | bool]": lambda value: isinstance(value, bool) or is_text(value),
    "Mapping[str, Sequence[str]]": are_texts,
}

CHECKS: Mapping[str, Callable[[object], bool]] = {
    "str": is_text,
    "bool": instance_of(bool),
    "int": lambda value: type(value) is int and value >= 0,
    "Sequence[str]": are_texts,
    **{name: mapping_of(is_good) for name, is_good in ENTRIES.items()},
}
"""Whether a value has the type of a field, by that type."""


def check(
    declared: Any, *needed: str, checks: Mapping[str, Callable[[object], bool]] = CHECKS
) -> None:
    """Raise ValueError if a field has a wrong type, or a field that is `needed` is empty."""
    for each in fields(declared):
        value, where = getattr(declared, each.name), f"{type(declared).__name__}: {each.name}"
        if not checks[str(each.type)](value):
            if _is_too_long(value):
                raise ValueError(
                    f"{where} has over {MOST_ITEMS} items, or a text of over {MOST_TEXT} characters"
                )
            raise ValueError(f"{where} is {short(value)}, not {each.type}")
        if each.name in needed and not value:
            raise ValueError(f"{where} is empty")
        # So lists and tuples of the same items are equal, and a Talk can be hashed.
        object.__setattr__(declared, each.name, _frozen(value))


def _filled(form: str, members: Mapping[str, object], date: Callable[[float], str]) -> str | None:
    """A form with its members; None if one of them does not fit."""
    values = []
    for path, kind in places(form):
        value = member(members, path)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        if kind == ":text" and not isinstance(value, str):
            return None
        if kind == ":time":
            value = "" if isinstance(value, str) else date(value)
            if not value:
                return None
        values.append(str(value))
    given = iter(values)
    return _PLACE.sub(lambda _: next(given), form)


@lru_cache(maxsize=1000)
def places(form: str) -> Sequence[tuple[str, str]]:
    """The members that stand in a form, each with its kind."""
    return tuple(_PLACE.findall(form))


def check_form(where: str, form: str) -> None:
    paths = [path for path, _ in places(form)]
    if len(paths) > min(MOST_PLACES, len({*paths})):
        raise ValueError(f"{where} has over {MOST_PLACES} members, or one twice")


def _frozen(value: Any) -> Any:
    """A value with tuples for its lists."""
    if isinstance(value, Mapping):
        return {name: _frozen(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _is_too_long(value: object, depth: int = 2) -> bool:
    """Whether a value is too long, or a value in it."""
    if isinstance(value, str):
        return len(value) > MOST_TEXT
    if not isinstance(value, Mapping | list | tuple):
        return False
    inner = [*value, *value.values()] if isinstance(value, Mapping) else value
    return len(value) > MOST_ITEMS or (
        depth > 0 and any(_is_too_long(each, depth - 1) for each in inner)
    )
