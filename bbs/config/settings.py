"""Declare a section of the configuration: a frozen dataclass, each field a `setting`.

    @dataclass(frozen=True)
    class Popen:
        nice: int = setting(5, "how far app servers stand back behind other processes", minimum=0)

The framework's own sections (`sections.py`) and those of services and providers are declared
alike. The declaration gives a section its environment variables, its checks and its lines in
`bbs config check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from math import inf
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints, overload

from bbs.config import kinds
from bbs.config.kinds import Kind
from bbs.core.values import Rate

T = TypeVar("T")


@dataclass(frozen=True)
class _Declared:
    """The arguments of `setting`."""

    help: str
    kind: Kind[Any] | None
    secret: bool
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    handed_on: bool | None
    share: str
    former: bool = False


@dataclass(frozen=True)
class Key:
    """One key of a section; `handed_on` says whether app servers are told its value, and `share`,
    of a limit, how much of it one person or address can have. A `former` key still counts where it
    is set, is not told of elsewhere, and goes in a later version."""

    kind: Kind[Any]
    help: str
    handed_on: bool
    share: str = ""
    former: bool = False


@overload
def setting(
    default: object,
    help: str,
    *,
    kind: Kind[T],
    secret: bool = False,
    handed_on: bool | None = None,
    share: str = "",
) -> T: ...


@overload
def setting(
    default: T,
    help: str,
    *,
    secret: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    handed_on: bool | None = None,
    share: str = "",
) -> T: ...


def setting(
    default: Any,
    help: str,
    *,
    kind: Kind[Any] | None = None,
    secret: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    handed_on: bool | None = None,
    share: str = "",
) -> Any:
    """Declare a key of a section, a field of a frozen dataclass.

    A key is a `bool`, an `int`, a `float`, a `str`, a `Rate` or a `tuple[str, ...]`, by the
    annotation of the field or else by its default.

    :param default: the value where nobody has set the key.
    :param help: what the key is for, in a line for operators.
    :param kind: the values that the key takes, where the annotation does not say it all.
    :param secret: the value is never shown, by default not handed on, and may stand in a file,
        whose path is the value of the key `KEY_file`.
    :param minimum: the least value of a number, in the unit of the key, which `help` says.
    :param maximum: the greatest value of a number, in the same unit.
    :param choices: the possible values of a `str`.
    :param handed_on: whether app servers get the key, in the configuration that they start with. By
        default they get all but secrets.
    :param share: of a limit, how much of it one person or address can have, for
        `bbs.testing.undeclared_limits`.
    """
    if kind is not None:
        default = kind.read(default)
    elif isinstance(default, list):
        default = tuple(default)
    hidden = secret or (kind is not None and kind.secret)
    declared = _Declared(help, kind, secret, minimum, maximum, tuple(choices), handed_on, share)
    return field(default=default, repr=not hidden, metadata={"setting": declared})


def former_setting(default: T, kind: Kind[T]) -> T:
    """Declare a key that a file of an older version may have, and that is told of no more."""
    declared = _Declared("of older versions", kind, False, None, None, (), None, "", former=True)
    return field(default=default, metadata={"setting": declared})


def name_of(section: type[Any]) -> str:
    """The name of a service's section, which is that of its class in lower case."""
    return section.__name__.lower()


def keys_of(section: type[Any]) -> Mapping[str, Key]:
    """The keys of a section, by name.

    :raises TypeError: `section` is not a frozen dataclass with a setting for each field; the text
        is one line for its author.
    """
    name = getattr(section, "__qualname__", repr(section))
    parameters: Any = getattr(section, "__dataclass_params__", None)
    if not isinstance(section, type) or parameters is None or not parameters.frozen:
        raise TypeError(f"the section {name} must be a dataclass(frozen=True)")
    known: Any = section
    return _read_keys(known, name)


@cache  # Reading them takes some 0.2 ms.
def _read_keys(section: type[Any], name: str) -> Mapping[str, Key]:
    try:
        hints = get_type_hints(section)
    except NameError:  # An annotation that is there for type checkers only.
        hints = {}
    keys: dict[str, Key] = {}
    for each in fields(section):
        try:
            keys[each.name] = _read_key(each, hints.get(each.name))
        except (TypeError, ValueError) as error:
            raise TypeError(f"the section {name}: {each.name} {error}") from error
    for secret in [key for key in keys if keys[key].kind.secret and f"{key}_file" in keys]:
        raise TypeError(f"the section {name}: {secret}_file is the file of the secret {secret}")
    return MappingProxyType(keys)


def _read_key(field: Field[Any], hint: object) -> Key:
    declared = field.metadata.get("setting")
    if not isinstance(declared, _Declared):
        raise TypeError("must be a setting(default, help)")
    if field.name != field.name.lower():
        raise TypeError("must be in lower case, as variables of the environment are not")
    if not declared.help or not declared.help.isprintable():
        raise TypeError("needs a line of help")
    kind = declared.kind or _kind_of(declared, hint or type(field.default))
    if not declared.kind:  # Else `setting` has read it.
        try:
            kind.read(field.default)
        except ValueError:
            raise TypeError(f"has a default that is not {kind.right}") from None
    if declared.secret:
        kind = kinds.hidden(kind)
    handed_on = not kind.secret if declared.handed_on is None else declared.handed_on
    return Key(kind, declared.help, handed_on, declared.share, declared.former)


def _kind_of(declared: _Declared, wanted: object) -> Kind[Any]:
    least = -inf if declared.minimum is None else declared.minimum
    most = inf if declared.maximum is None else declared.maximum
    for what, given in (("minimum", declared.minimum), ("maximum", declared.maximum)):
        if given is not None and wanted not in (int, float):
            raise TypeError(f"has a {what}, so it must be a number")
    if declared.choices and wanted is not str:
        raise TypeError("has choices, so it must be a str")
    if wanted is int:
        return kinds.whole(least, most)
    if wanted is float:
        return kinds.number(least, most)
    if wanted is str:
        return kinds.choice(*declared.choices) if declared.choices else kinds.any_text
    if wanted is bool:
        return kinds.flag
    if wanted in (tuple, tuple[str, ...]):
        return kinds.any_texts
    if wanted is Rate:
        return kinds.rate
    raise TypeError("must be a bool, an int, a float, a str, a Rate or a tuple[str, ...]")
