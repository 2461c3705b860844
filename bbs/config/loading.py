"""Loads a configuration from a file, the environment and options, and writes one as TOML."""

from __future__ import annotations

import json
import operator
import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bbs.config.kinds import NotInstalled
from bbs.config.sections import OWN_SECTIONS, Configuration, ConfigurationSchema, section_name
from bbs.config.settings import Key
from bbs.core.plugins import PluginUnusable


class ConfigError(Exception):
    """The configuration cannot be used. Each of the `problems` is a line for operators, without a
    secret; the text is the first, and how many more there are."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        first, *others = self.problems
        return f"{first}; {len(others)} more: see config check" if others else first


MOST_READ = 1 << 20  # Bytes of a configuration file.

_RELATIONS: tuple[tuple[str, str, Callable[[Any, Any], bool], str], ...] = (
    ("fleet.minimum", "at most", operator.le, "fleet.maximum"),
    ("fleet.lost_after", "above", operator.gt, "fleet.heartbeat_interval"),
    ("fleet.lease_timeout", "above", operator.gt, "fleet.heartbeat_interval"),
)


@dataclass(frozen=True)
class _Given:
    """A value for a key. An error names `place`, where it was given. With `as_text` the value is a
    text to be read, as in the environment."""

    key: str
    value: object
    place: str
    as_text: bool = False


def load(
    path: str | None,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, object] = MappingProxyType({}),
    settings: Sequence[type] = (),
) -> Configuration:
    """The configuration from `path` (None: no file), the environment (`environ`) and the options;
    `settings` are the sections that the service declares (`Service.sections`).

    Options have dotted keys, `"database.url"`. Their texts are read as the environment's are; None
    stands for an option that was not given.

    :raises ConfigError: something in it is wrong, or an installed provider cannot be used.
    """
    found = read(path, environ, options, settings)
    if found.problems:
        raise ConfigError(*found.problems)
    return found.config


@dataclass(frozen=True)
class Checked:
    """A configuration, and what is wrong with it, each in one line. The `wrong` keys have their
    defaults."""

    config: Configuration
    problems: tuple[str, ...]
    wrong: frozenset[str]


def read(
    path: str | None,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, object] = MappingProxyType({}),
    settings: Sequence[type] = (),
) -> Checked:
    """Read a configuration of `path`, `environ`, `options` and `settings` as `load` does, for those
    who want to know all that is wrong.

    :raises ConfigError: the file cannot be read, or an installed provider cannot be used.
    """
    try:
        schema = ConfigurationSchema.installed(settings)
    except PluginUnusable as error:
        raise ConfigError(str(error)) from error
    reading = _Reading(schema)
    for layer in (
        _from_file(path, schema),
        _from_environment(environ, schema),
        _from_options(options),
    ):
        reading.take(layer)
    made = {name: reading.made(name, section) for name, section in schema.sections.items()}
    own = {name: made.pop(name) for name in OWN_SECTIONS}
    added = [name for each in settings if (name := section_name(each)) not in own]
    service = MappingProxyType({name: made.pop(name) for name in added})
    providers, places = MappingProxyType(made), MappingProxyType(reading.sources)
    config = Configuration(**own, service=service, providers=providers, sources=places)
    problems = (*reading.problems, *_contradictions(config, reading.wrong))
    return Checked(config, problems, frozenset(reading.wrong))


class _Reading:
    """The values of all layers, the later over the earlier.

    :ivar problems: what is wrong, each in one line.
    :ivar wrong: the keys that are wrong, and have their defaults in `values`.
    """

    def __init__(self, schema: ConfigurationSchema) -> None:
        self._schema = schema
        self.values: dict[str, dict[str, Any]] = {section: {} for section in schema.sections}
        self.sources = dict.fromkeys(schema.keys, "default")
        self.problems: list[str] = []
        self.wrong: set[str] = set()

    def made(self, name: str, section: type[Any]) -> Any:
        """The section of this name, with its defaults if it refuses its values together."""
        values = self.values[name]
        try:
            return section(**values)
        except ValueError as error:
            if not values:
                raise ConfigError(f"[{name}]: its defaults are wrong: {error}") from error
            self.problems.append(f"[{name}]: {' '.join(str(error).split())}")
            self.wrong |= {f"{name}.{key}" for key in values}
            self.values[name] = {}
            return self.made(name, section)

    def take(self, layer: Iterable[_Given | ConfigError]) -> None:
        """Read the values of a layer."""
        taken: set[str] = set()
        for given in layer:
            if isinstance(given, ConfigError):
                self.problems += given.problems
                continue
            try:
                self._take(given, taken)
            except ConfigError as error:
                self.problems += error.problems
                self.wrong.add(given.key)

    def _take(self, given: _Given, taken: set[str]) -> None:
        given = _read_secret_file(given, self._schema)
        value = _read_value(given, self._schema)
        if given.key in taken:
            raise ConfigError(f"{given.place}: {given.key} is set, and {given.key}_file too")
        taken.add(given.key)
        section, _, key = given.key.partition(".")
        self.values[section][key] = value
        self.sources[given.key] = given.place


def _from_file(path: str | None, schema: ConfigurationSchema) -> Iterator[_Given | ConfigError]:
    """The values of the file, and an error for each section that is wrong as a whole."""
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_READ + 1)
        if len(content) > MOST_READ:  # A device, for example, has no end.
            raise ConfigError(f"{path}: is longer than {MOST_READ} bytes")
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError as well as TOMLDecodeError
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for section, table in document.items():
        if section not in schema.sections:
            yield ConfigError(f"{path}: unknown section [{section}], {schema.nearest(section)}")
        elif not isinstance(table, dict):
            yield ConfigError(f"{path}: {section} must be a section, [{section}]")
        else:
            for key, value in table.items():
                yield _Given(f"{section}.{key}", value, path)


def _from_environment(environ: Mapping[str, str], schema: ConfigurationSchema) -> Iterator[_Given]:
    for variable, value in sorted(environ.items()):
        prefix, _, rest = variable.partition("_")
        section, _, key = rest.lower().partition("_")
        if prefix == "BBS" and section in schema.sections and key:
            yield _Given(f"{section}.{key}", value, variable, as_text=True)


def _from_options(options: Mapping[str, object]) -> Iterator[_Given]:
    for key, value in options.items():
        if value is not None:
            yield _Given(key, value, "option", as_text=isinstance(value, str))


def _read_secret_file(given: _Given, schema: ConfigurationSchema) -> _Given:
    """Replace a key `…_file` by the secret itself: the file has one value, or one on each line."""
    secret = schema.of_secret_file(given.key)
    if secret is None:
        return given
    file = str(given.value)
    try:
        lines = [line for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(f"{given.place}: {given.key}: {file}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"{given.place}: {given.key}: {file!r} is not a text file") from error
    return _Given(secret, lines[0] if len(lines) == 1 else lines, file)


def _read_value(given: _Given, schema: ConfigurationSchema) -> Any:
    declared = schema.keys.get(given.key)
    if declared is None:
        raise ConfigError(f"{given.place}: unknown key {given.key}, {schema.nearest(given.key)}")
    kind = declared.kind
    try:
        return kind.read(kind.from_text(str(given.value)) if given.as_text else given.value)
    except NotInstalled as error:
        raise ConfigError(f"{given.place}: {given.key}: {error}") from None
    except ValueError as error:
        # Without the cause: its text may hold the secret.
        wanted, shown = kind.expected(error), "" if kind.secret else f", not {given.value!r}"
        raise ConfigError(f"{given.place}: {given.key} must be {wanted}{shown}") from None


def _contradictions(config: Configuration, wrong: Collection[str]) -> Iterator[str]:
    """Say which values contradict each other, though each alone is right; none of `wrong` keys."""
    values = {f"{section}.{key}": value for section, key, _, value in config.every_key()}
    for key, relation, holds, other in _RELATIONS:
        if not holds(values[key], values[other]) and not {key, other} & {*wrong}:
            place = next(at for at in map(config.sources.get, (key, other)) if at != "default")
            yield f"{place}: {key} ({values[key]}) must be {relation} {other} ({values[other]})"
    provider = config.fleet.provider
    check = getattr(config.sections().get(provider), "check", None)
    is_known = not any(key == "fleet.provider" or key.startswith(f"{provider}.") for key in wrong)
    if callable(check) and is_known:
        try:
            check()
        except ValueError as error:
            yield f"{config.sources['fleet.provider']}: {error}"


def masked(config: Configuration) -> list[tuple[str, str, str]]:
    """Each key of `config`, its value as TOML with passwords masked, and where it came from."""
    return [
        (name := f"{section}.{key}", _shown(declared, value), config.sources.get(name, "code"))
        for section, key, declared, value in config.every_key()
    ]


def to_toml(
    config: Configuration, *, for_app_servers: bool = False, without: Collection[str] = ()
) -> str:
    """A TOML text, secrets included, that loads to a configuration equal to `config`.

    :param for_app_servers: write only the keys that are handed on to app servers.
    :param without: dotted keys that are left out.
    """
    sections: dict[str, list[str]] = {}
    for section, key, declared, value in config.every_key():
        if (declared.handed_on or not for_app_servers) and f"{section}.{key}" not in without:
            sections.setdefault(section, [f"[{section}]"]).append(f"{key} = {write(value)}")
    return "".join(f"{line}\n" for lines in sections.values() for line in lines)


def described(config: Configuration) -> str:
    """A TOML text with a line for each key of `config`, and what it is for; secrets are masked."""
    sections: dict[str, list[str]] = {}
    for section, key, declared, value in config.every_key():
        line = f"{f'{key} = {_shown(declared, value)}':36} # {declared.help}"
        sections.setdefault(section, [f"[{section}]"]).append(line)
    return "\n\n".join("\n".join(lines) for lines in sections.values())


def _shown(declared: Key, value: object) -> str:
    return write(declared.kind.masked(value) if declared.kind.secret else value)


def write(value: object) -> str:
    """A value as TOML text."""
    if isinstance(value, tuple):
        return "[" + ", ".join(write(element) for element in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False)
