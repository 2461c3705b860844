"""The types of replies: dataclasses that describe the members of a reply.

    @dataclass(frozen=True)
    class Said:
        said: list[Saying]          # Saying: another such dataclass
        topic: str | None = None    # may be missing

A field has the name of its member; behind a keyword of Python stands an underscore (`from_`). Its
type is `str`, `int`, `float`, `bool`, `None`, `object` (any JSON), `list[…]`, `tuple[…, ...]`,
`dict[str, …]` (or `Sequence` and `Mapping`), another such dataclass, or several of these with `|`.
A member whose field has a default may be missing. A reply may have members without a field.

Servers of tests and of `up --debug` compare replies with them (`bbs.commands.declared`), and others
do not. `bbs.cli.description` writes a client and a description from them, and that client reads
replies by `read`.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from keyword import iskeyword
from reprlib import repr as short
from typing import Any, TypeVar

T = TypeVar("T")


class Form(enum.Enum):
    """The kinds of types."""

    ANY = "any JSON"
    PLAIN = "a text, a number, true, false or null"
    UNION = "one of several"
    LIST = "a list"
    TUPLE = "a list that is read as a tuple"
    MAPPING = "an object with any members"
    RECORD = "an object with the fields of a dataclass"


_PLAIN = (str, int, float, bool, types.NoneType)
_LISTS = {list: Form.LIST, tuple: Form.TUPLE, Sequence: Form.TUPLE}


def parse(kind: Any) -> tuple[Form, Sequence[Any]]:
    """Read a type: its kind, and the types that it consists of (of a mapping, of its values).

    :raises ValueError: JSON has nothing of this type.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind in (object, Any):
        return Form.ANY, ()
    if kind is None or kind in _PLAIN:
        return Form.PLAIN, ()
    if origin in (types.UnionType, typing.Union):
        return Form.UNION, parts
    if origin in _LISTS and len(parts) == 1 + (origin is tuple) and parts[1:] in ((), (...,)):
        return _LISTS[origin], parts[:1]
    if origin in (dict, Mapping) and parts[:1] == (str,):
        return Form.MAPPING, parts[1:]
    if isinstance(kind, type) and is_dataclass(kind):
        return Form.RECORD, ()
    raise ValueError(f"{kind!r} is not a type of a reply's member")


@dataclass(frozen=True)
class Member:
    """A field of a dataclass: `field` is its name, and `name` that of the member. Without a
    `default`, which may be a factory, the member must be there."""

    field: str
    name: str
    kind: Any
    default: object = MISSING
    factory: Any = MISSING

    @property
    def needed(self) -> bool:
        return self.default is MISSING and self.factory is MISSING


@cache
def members(record: type) -> Sequence[Member]:
    """The fields of a dataclass; ValueError if its types cannot be read."""
    try:
        kinds = typing.get_type_hints(record)
    except (NameError, TypeError) as error:
        raise ValueError(f"{record.__name__}: {error}") from error
    return [
        Member(each.name, _member(each.name), kinds[each.name], each.default, each.default_factory)
        for each in fields(record)
        if each.init
    ]


def _member(field: str) -> str:
    word = field.removesuffix("_")
    return word if iskeyword(word) else field


def records(record: Any) -> Sequence[type]:
    """A dataclass and those in it, each behind those that its fields need.

    :raises ValueError: it is not a dataclass, or a type or default in it is not of JSON.
    """
    if not isinstance(record, type) or not is_dataclass(record):
        raise ValueError(f"the reply {record!r} is not a dataclass")
    found: dict[type, None] = {}
    _collect(record, found, ())
    return [*found]


def _collect(kind: Any, found: dict[type, None], within: tuple[Any, ...]) -> None:
    form, parts = parse(kind)
    if form is Form.RECORD:
        if kind in within or kind in found:
            return
        parts = [each.kind for each in members(kind)]
        for each in members(kind):
            _check_default(kind, each)
        within = (*within, kind)
    for part in parts:
        _collect(part, found, within)
    if form is Form.RECORD:
        found[kind] = None


def _check_default(record: type, member: Member) -> None:
    default = member.factory() if member.factory is not MISSING else member.default
    try:
        json.dumps(None if default is MISSING else default, allow_nan=False)
    except (TypeError, ValueError):
        reason = f"the default of {member.field} is not JSON: {default!r}"
        raise ValueError(f"{record.__name__}: {reason}") from None


def misfit(record: type, line: bytes) -> str:
    """Say where a reply, as it is on the wire, does not fit the record; "" if it does."""
    value = json.loads(line)
    for each in members(record):
        if each.name not in value:
            if each.needed:
                return f"{each.name} is missing"
            continue
        try:
            _read(each.kind, value[each.name])
        except TypeError:
            return f"{each.name} is {short(value[each.name])}, and not {_shown(each.kind)}"
    return ""


def _shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def read(kind: type[T], value: object) -> T:
    """Read a value of JSON as one of a type; TypeError if it does not fit."""
    found: T = _read(kind, value)
    return found


def _read(kind: Any, value: object) -> Any:
    form, parts = parse(kind)
    if form is Form.ANY or (form is Form.PLAIN and _is_plain(kind, value)):
        return value
    if form is Form.UNION:
        for part in parts:
            try:
                return _read(part, value)
            except TypeError:
                pass
    elif form in (Form.LIST, Form.TUPLE) and isinstance(value, list):
        entries = [_read(parts[0], each) for each in value]
        return entries if form is Form.LIST else tuple(entries)
    elif form is Form.MAPPING and isinstance(value, dict):
        return {name: _read(parts[0], each) for name, each in value.items()}
    elif form is Form.RECORD and isinstance(value, Mapping):
        given = {each.field: each for each in members(kind) if each.needed or each.name in value}
        if all(each.name in value for each in given.values()):
            found = {name: _read(each.kind, value[each.name]) for name, each in given.items()}
            return kind(**found)
    raise TypeError(f"not {form.value}")


def _is_plain(kind: Any, value: object) -> bool:
    if kind is float:
        return type(value) in (int, float)  # For Python, True is a number.
    return value is None if kind in (None, types.NoneType) else type(value) is kind
