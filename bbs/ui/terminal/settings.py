"""The settings of a person's terminal, in a file: `~/.config/bbs/client.toml`.

    times = true            # HH:MM before each message
    bell = "highlight"      # for a message to you or with your name: off, bell, highlight or both
    pager = "less -S"       # instead of $PAGER; empty for the one that is built in
    [colours]
    senders = true          # names of people in colours
    [colours.styles]
    prompt = "bold #5f8700"
    [keys]
    history = "pageup"
    backward-kill-word = ["c-w", "escape backspace"]

A mistake affects only its own setting; an error names it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.bindings.named_commands import get_by_name
from prompt_toolkit.styles import Style

from bbs.ui.output import visible
from bbs.ui.terminal.keys import KEYS, Sequences
from bbs.ui.terminal.theme import STYLES

T = TypeVar("T")

_NONE: Mapping[str, object] = MappingProxyType({})

MOST_READ = 1024 * 1024  # bytes of the file that are read


class Attention(Enum):
    """The signal of a message that is for the person alone, or names them."""

    OFF = "off"
    BELL = "bell"
    HIGHLIGHT = "highlight"
    BOTH = "both"

    @property
    def rings(self) -> bool:
        return self in (Attention.BELL, Attention.BOTH)

    @property
    def highlights(self) -> bool:
        return self in (Attention.HIGHLIGHT, Attention.BOTH)


@dataclass(frozen=True)
class Settings:
    """A person's settings. `pager` is None if `PAGER` decides; `styles` are prompt_toolkit's, by
    the names in `theme.STYLES`; `keys` go by action (`keys.KEYS`, and readline's names)."""

    times: bool = True
    bell: Attention = Attention.HIGHLIGHT
    pager: str | None = None
    senders: bool = True
    styles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, Sequences] = field(default_factory=lambda: MappingProxyType({}))


def read_settings(path: Path) -> tuple[Settings, Sequence[str]]:
    """The settings in a file, and a line for each mistake in it. Blocks."""
    try:
        with open(path, "rb") as file:
            members = tomllib.loads(file.read(MOST_READ).decode())
    except FileNotFoundError:
        return Settings(), []
    except OSError as problem:
        return Settings(), [visible(f"{path}: {problem.strerror or problem}")]
    except UnicodeDecodeError:
        return Settings(), [visible(f"{path}: not UTF-8")]
    except (ValueError, RecursionError) as problem:  # e.g. a number with too many digits for Python
        return Settings(), [visible(f"{path}: {problem}")]
    reader = _SettingsReader()
    settings = reader.read(members)
    return settings, [visible(f"{path}: {problem}") for problem in reader.problems]


class _InvalidSetting(Exception):
    """The value is invalid; the text says which values are valid."""


@dataclass
class _SettingsReader:
    """One reading of a file, with the `problems` so far."""

    problems: list[str] = field(default_factory=list)

    def read(self, members: Mapping[str, object]) -> Settings:
        colours = self._checked("colours", members.get("colours", {}), _table, _NONE)
        bell = members.get("bell", "highlight")
        settings = Settings(
            times=self._checked("times", members.get("times", True), _flag, True),
            bell=self._checked("bell", bell, _attention, Attention.HIGHLIGHT),
            pager=self._checked("pager", members.get("pager"), _command, None),
            senders=self._checked("colours.senders", colours.get("senders", True), _flag, True),
            styles=self._table("colours.styles", colours.get("styles", {}), _style),
            keys=self._table("keys", members.get("keys", {}), _keys),
        )
        for prefix, table, known in (
            ("", members, ("times", "bell", "pager", "colours", "keys")),
            ("colours.", colours, ("senders", "styles")),
        ):
            unknown = [name for name in table if name not in known]
            self.problems += [f"{prefix}{name}: no such setting" for name in unknown]
        return settings

    def _checked(self, name: str, value: object, check: Callable[[object], T], default: T) -> T:
        try:
            return check(value)
        except _InvalidSetting as problem:
            self.problems.append(f"{name}: {problem}")
            return default

    def _table(
        self, name: str, value: object, check: Callable[[str, object], T]
    ) -> Mapping[str, T]:
        checked = {}
        for key, each in self._checked(name, value, _table, _NONE).items():
            try:
                checked[key] = check(key, each)
            except _InvalidSetting as problem:
                self.problems.append(f"{name}.{key}: {problem}")
        return MappingProxyType(checked)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _InvalidSetting("true or false")


def _attention(value: object) -> Attention:
    try:
        return Attention(value)
    except ValueError:
        raise _InvalidSetting("off, bell, highlight or both, in quotes") from None


def _command(value: object) -> str | None:
    if value is None or (isinstance(value, str) and "\0" not in value):
        return value
    raise _InvalidSetting("a command in quotes; empty for the pager that is built in")


def _table(value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise _InvalidSetting("a table")


def _style(name: str, value: object) -> str:
    if name not in STYLES:
        raise _InvalidSetting(f"no such style; there are {', '.join(STYLES)}")
    try:
        if isinstance(value, str):
            Style.from_dict({name: value})
            return value
    except ValueError:
        pass
    raise _InvalidSetting('a style in quotes, as "bold #5f8700"')


def _keys(name: str, value: object) -> Sequences:
    if name not in KEYS:
        try:
            get_by_name(name)
        except KeyError:
            raise _InvalidSetting("nothing that a key can do") from None
    values = value if isinstance(value, list) else [value]
    try:
        # Values without quotes are refused: history = 5 would take the key 5 from the keyboard.
        sequences = [tuple(each.split() if isinstance(each, str) else ()) for each in values]
        for sequence in sequences:
            KeyBindings().add(*sequence)
    except (AssertionError, ValueError):
        raise _InvalidSetting('keys in quotes, as "pageup", "c-w" or "escape f"') from None
    return sequences
