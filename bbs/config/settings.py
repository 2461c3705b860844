"""How a section of the configuration is declared: a frozen dataclass, each field a `setting`.

    @dataclass(frozen=True)
    class Popen:
        nice: int = setting(5, "how far app servers stand back behind other processes", minimum=0)

This framework's own sections (`sections.py`) and those of other people's providers are declared
alike. A section's environment variables, its lines in `bbs config check` and what is refused follow
from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints, overload

from bbs.config import kinds
from bbs.config.kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True)
class _Declared:
    """The arguments of `setting`."""

    help: str
    kind: Kind[Any] | None
    secret: bool
    minimum: float | None
    choices: tuple[str, ...]
    handed_on: bool | None


@dataclass(frozen=True)
class Key:
    """One key of a section: what it may be, what it is for in a line, and whether app servers are
    told it."""

    kind: Kind[Any]
    help: str
    handed_on: bool


@overload
def setting(
    default: object,
    help: str,
    *,
    kind: Kind[T],
    secret: bool = False,
    handed_on: bool | None = None,
) -> T: ...


@overload
def setting(
    default: T,
    help: str,
    *,
    secret: bool = False,
    minimum: float | None = None,
    choices: tuple[str, ...] = (),
    handed_on: bool | None = None,
) -> T: ...


def setting(
    default: Any,
    help: str,
    *,
    kind: Kind[Any] | None = None,
    secret: bool = False,
    minimum: float | None = None,
    choices: tuple[str, ...] = (),
    handed_on: bool | None = None,
) -> Any:
    """Declare a key of a section, a field of a frozen dataclass.

    A key may be a `bool`, an `int`, a `float`, a `str` or a `tuple[str, ...]`: as the field is
    annotated, else as its default is.

    :param default: what counts where nobody has set it.
    :param help: what it is for, in a line for operators.
    :param kind: what it may be, where the annotation does not say it all.
    :param secret: never shown, and never handed on unless told so; it may stand in a file, whose
        path is set as `KEY_file`.
    :param minimum: the least that a number may be.
    :param choices: the words that a `str` may be.
    :param handed_on: whether app servers are told it, in the configuration that they start with;
        unless told otherwise, all but secrets are.
    """
    if kind is not None:
        default = kind.read(default)
    elif isinstance(default, list):
        default = tuple(default)
    hidden = secret or (kind is not None and kind.secret)
    declared = _Declared(help, kind, secret, minimum, tuple(choices), handed_on)
    return field(default=default, repr=not hidden, metadata={"setting": declared})


def keys_of(section: type[Any]) -> Mapping[str, Key]:
    """The keys of a section, by name.

    :raises TypeError: `section` must be a frozen dataclass whose fields are all settings; the text
        is one line for whoever wrote it.
    """
    name = getattr(section, "__qualname__", repr(section))
    parameters: Any = getattr(section, "__dataclass_params__", None)
    if not isinstance(section, type) or parameters is None or not parameters.frozen:
        raise TypeError(f"the section {name} is no dataclass(frozen=True)")
    known: Any = section
    return _keys_of(known, name)


@cache
def _keys_of(section: type[Any], name: str) -> Mapping[str, Key]:
    """The keys of a frozen dataclass: it takes some 0.2 ms to find them, and stays what it is."""
    try:
        hints = get_type_hints(section)
    except NameError:  # An annotation that is there for type checkers only.
        hints = {}
    keys: dict[str, Key] = {}
    for each in fields(section):
        try:
            keys[each.name] = _key(each, hints.get(each.name))
        except (TypeError, ValueError) as error:
            raise TypeError(f"the section {name}: {each.name} {error}") from error
    for secret in [key for key in keys if keys[key].kind.secret and f"{key}_file" in keys]:
        raise TypeError(f"the section {name}: {secret}_file is the file of the secret {secret}")
    return MappingProxyType(keys)


def _key(declared: Field[Any], hint: object) -> Key:
    told = declared.metadata.get("setting")
    if not isinstance(told, _Declared):
        raise TypeError("is no setting(default, help)")
    if declared.name != declared.name.lower():
        raise TypeError("must be in lower case, as variables of the environment are not")
    if not told.help or not told.help.isprintable():
        raise TypeError("needs a line of help")
    kind = told.kind or _derived(told, hint or type(declared.default))
    if not told.kind:  # Else `setting` has read it.
        try:
            kind.read(declared.default)
        except ValueError:
            raise TypeError(f"has a default that is not {kind.right}") from None
    if told.secret:
        kind = kinds.hidden(kind)
    handed_on = not kind.secret if told.handed_on is None else told.handed_on
    return Key(kind, told.help, handed_on)


def _derived(told: _Declared, wanted: object) -> Kind[Any]:
    """The kind of what is annotated, or defaults to, a type."""
    if told.minimum is not None and wanted not in (int, float):
        raise TypeError("has a minimum, and is no number")
    if told.choices and wanted is not str:
        raise TypeError("has choices, and is no str")
    if wanted is int:
        return kinds.whole(told.minimum)
    if wanted is float:
        return kinds.number(told.minimum)
    if wanted is str:
        return kinds.choice(*told.choices) if told.choices else kinds.any_text
    if wanted is bool:
        return kinds.flag
    if wanted in (tuple, tuple[str, ...]):
        return kinds.any_texts
    raise TypeError("must be a bool, an int, a float, a str or a tuple[str, ...]")
