"""Loads a configuration from a file, the environment and options, and writes one as TOML."""

from __future__ import annotations

import json
import operator
import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bbs.config.kinds import NotInstalled
from bbs.config.sections import OWN_SECTIONS, Configuration, ConfigurationSchema
from bbs.config.settings import Key, name_of
from bbs.core.plugins import PluginUnusable


class ConfigError(Exception):
    """The configuration cannot be used; its text is one line for the operator, free of secrets."""


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
    settings: type | None = None,
) -> Configuration:
    """The configuration from `path` (None: no file), the environment and the options; `settings` is
    the section that the service declares (`Service.settings`).

    Options have dotted keys, `"database.url"`. Their texts are read as the environment's are; None
    stands for an option that was not given.

    :raises ConfigError: something in it is wrong, or an installed provider cannot be used.
    """
    try:
        schema = ConfigurationSchema.installed(settings)
    except PluginUnusable as error:
        raise ConfigError(str(error)) from error
    values: dict[str, dict[str, Any]] = {section: {} for section in schema.sections}
    sources = dict.fromkeys(schema.keys, "default")
    layers = (_from_file(path, schema), _from_environment(environ, schema), _from_options(options))
    for layer in layers:
        taken: set[str] = set()
        for given in (_read_secret_file(each, schema) for each in layer):
            section, _, key = given.key.partition(".")
            values[section][key] = _read_value(given, schema)
            if given.key in taken:
                raise ConfigError(f"{given.place}: {given.key} is set, and {given.key}_file too")
            taken.add(given.key)
            sources[given.key] = given.place
    made = {name: section(**values[name]) for name, section in schema.sections.items()}
    own = {name: made.pop(name) for name in OWN_SECTIONS}
    declared = [] if settings is None else [name_of(settings)]
    service = MappingProxyType({name: made.pop(name) for name in declared})
    providers, places = MappingProxyType(made), MappingProxyType(sources)
    config = Configuration(**own, service=service, providers=providers, sources=places)
    _check_relations(config)
    return config


def _from_file(path: str | None, schema: ConfigurationSchema) -> Iterator[_Given]:
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
            raise ConfigError(f"{path}: unknown section [{section}], {schema.nearest(section)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section} must be a section, [{section}]")
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
    except ValueError:
        # Without the cause: its text may hold the secret.
        shown = "" if kind.secret else f", not {given.value!r}"
        raise ConfigError(f"{given.place}: {given.key} must be {kind.right}{shown}") from None


def _check_relations(config: Configuration) -> None:
    """Refuse values that contradict each other, though each alone is right."""
    values = {f"{section}.{key}": value for section, key, _, value in config.every_key()}
    for key, relation, holds, other in _RELATIONS:
        if not holds(values[key], values[other]):
            place = next(at for at in map(config.sources.get, (key, other)) if at != "default")
            raise ConfigError(
                f"{place}: {key} ({values[key]}) must be {relation} {other} ({values[other]})"
            )
    check = getattr(config.sections().get(config.fleet.provider), "check", None)
    if callable(check):
        try:
            check()
        except ValueError as error:
            raise ConfigError(f"{config.sources['fleet.provider']}: {error}") from error


def masked(config: Configuration) -> list[tuple[str, str, str]]:
    """Each key, its value as TOML with passwords masked, and where it came from."""
    return [
        (name := f"{section}.{key}", _shown(declared, value), config.sources.get(name, "code"))
        for section, key, declared, value in config.every_key()
    ]


def to_toml(
    config: Configuration, *, for_app_servers: bool = False, without: Collection[str] = ()
) -> str:
    """A TOML text, secrets included, that loads to an equal configuration.

    :param for_app_servers: write only the keys that are handed on to app servers.
    :param without: dotted keys that are left out.
    """
    sections: dict[str, list[str]] = {}
    for section, key, declared, value in config.every_key():
        if (declared.handed_on or not for_app_servers) and f"{section}.{key}" not in without:
            sections.setdefault(section, [f"[{section}]"]).append(f"{key} = {write(value)}")
    return "".join(f"{line}\n" for lines in sections.values() for line in lines)


def described(config: Configuration) -> str:
    """A TOML text with a line for each key, and what it is for; secrets are masked."""
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
