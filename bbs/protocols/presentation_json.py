"""The JSON form of a presentation: the member `presentation` of the reply to `commands`.

`docs/protocol.md`, section 3, describes it. A reader does not trust it: it drops malformed parts
and references to missing parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, replace
from itertools import islice
from typing import Any, TypeVar

from bbs.core.values import RESERVED_EVENTS
from bbs.protocols.presentation import (
    MOST_ITEMS,
    MOST_LINES,
    NAMES,
    WORD,
    ChatEvent,
    Choices,
    Line,
    Listing,
    Notice,
    Presentation,
    Talk,
    are_texts,
    is_text,
)

T = TypeVar("T")

_LISTS: Mapping[str, type[Any]] = {
    "choices": Choices,
    "lists": Listing,
    "lines": Line,
    "chats": ChatEvent,
    "talks": Talk,
    "notices": Notice,
}
"""The parts that are lists, with the class of their items."""

_MAPPINGS: Mapping[str, Callable[[object], bool]] = {
    "help": is_text,
    "groups": are_texts,
    "aliases": is_text,
    "complete": are_texts,
}
"""The parts that are mappings, except `events`, with the check of their values."""


def to_json(presentation: Presentation) -> dict[str, object]:
    """The members of a presentation, without defaults."""
    members = _plain(presentation)
    assert isinstance(members, dict)
    return members


def from_json(told: object) -> Presentation | None:
    """Read a presentation; None if there is none."""
    if not isinstance(told, Mapping):
        return None
    parts: dict[str, Any] = {}
    for name, kind in _LISTS.items():
        parts[name] = [*_items(kind, told.get(name))]
    del parts["lines"][MOST_LINES:]
    for name, is_good in _MAPPINGS.items():
        entries = _entries(told.get(name))
        parts[name] = {key: each for key, each in entries.items() if is_good(each)}
    lines = {name: _item(Line, line) for name, line in _entries(told.get("events")).items()}
    parts["events"] = {name: line for name, line in lines.items() if line is not None}
    if is_text(told.get("after")):
        parts["after"] = told["after"]
    return Presentation(**_consistent(parts))


def _plain(value: Any) -> object:
    """A declared value as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | bool | int):
        return value
    return {
        each.name: _plain(getattr(value, each.name))
        for each in fields(value)
        if each.name != "legacy" and getattr(value, each.name) != _default(each)
    }


def _default(each: Any) -> object:
    """The default of a field."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def _items(kind: type[T], told: object) -> Iterator[T]:
    """The well-formed items of a list."""
    for each in told[:MOST_ITEMS] if isinstance(told, list) else ():
        if (item := _item(kind, each)) is not None:
            yield item


def _item(kind: type[T], told: object) -> T | None:
    if not isinstance(told, Mapping):
        return None
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    try:
        return kind(**{name: told[name] for name in names if name in told})
    except (TypeError, ValueError):
        return None


def _entries(told: object) -> Mapping[str, object]:
    """The entries of a mapping whose names are not too long."""
    entries = islice(told.items(), MOST_ITEMS) if isinstance(told, Mapping) else ()
    return {name: value for name, value in entries if is_text(name)}


def _consistent(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts without references to what is missing, and with one item of each name."""
    choices = {each.name for each in parts["choices"]}
    talks = [each for each in parts["talks"] if each.choices in ("", *choices)]
    kept = {each.name for each in talks}
    consistent = {
        **parts,
        "choices": [
            replace(each, within=each.within if each.within in choices else "")
            for each in parts["choices"]
        ],
        "talks": talks,
        "chats": [each if each.talk in kept else replace(each, talk="") for each in parts["chats"]],
        "complete": {
            where: [*dict.fromkeys(name for name in given if name.removeprefix("-") in choices)]
            for where, given in parts["complete"].items()
            if len(where.split(" ")) == 2
        },
    }
    consistent["aliases"] = {
        alias: name for alias, name in parts["aliases"].items() if WORD.fullmatch(alias)
    }
    chats = {each.event for each in parts["chats"]}
    consistent["events"] = {
        event: line
        for event, line in parts["events"].items()
        if event not in chats and event not in RESERVED_EVENTS
    }
    for part, name in NAMES.items():  # The first of each name counts.
        named = {getattr(each, name): each for each in reversed(consistent[part])}
        consistent[part] = [*reversed(named.values())]
    return consistent
