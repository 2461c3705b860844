"""One validated, frozen configuration.

`load` reads a TOML file, then environment variables (`BBS_DATABASE_URL` for `database.url`), then
options; what comes later wins. An unknown key, a wrong type or an impossible value is a
`ConfigError` that names the key, where it stands and what would be right. The keys and their
defaults are the dataclasses below, explained in `docs/operating.md`; paths are relative to the
folder that the process runs in.
"""

from __future__ import annotations

import difflib
import operator
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bbs.config import kinds
from bbs.config.kinds import Kind, setting, write
from bbs.values import Rate

__all__ = ["ConfigError", "Configuration", "Rate", "load", "masked", "to_toml"]


class ConfigError(Exception):
    """The configuration cannot be used; its text is one line for the operator, free of secrets."""


@dataclass(frozen=True)
class Login:
    listen: tuple[str, ...] = setting(kinds.endpoints, "tcp:22222")


@dataclass(frozen=True)
class App:
    listen: tuple[str, ...] = setting(kinds.endpoints, "tcp:22223")
    capacity: int = setting(kinds.whole(1), 10)


@dataclass(frozen=True)
class Database:
    url: str = setting(kinds.database_url, "sqlite:///bbs.sqlite3")
    pool_size: int = setting(kinds.whole(1), 8)


@dataclass(frozen=True)
class Broker:
    url: tuple[str, ...] = setting(kinds.broker_urls, "embedded")


@dataclass(frozen=True)
class Fleet:
    provider: str = setting(kinds.choice("local", "ec2", "none"), "local")
    minimum: int = setting(kinds.whole(0), 1)
    maximum: int = setting(kinds.whole(1), 20)
    spare: int = setting(kinds.whole(0), 5)
    idle_grace: float = setting(kinds.seconds(zero=True), 120.0)
    launch_timeout: float = setting(kinds.seconds(), 180.0)
    heartbeat_interval: float = setting(kinds.seconds(), 2.0)
    lost_after: float = setting(kinds.seconds(), 10.0)
    lease_timeout: float = setting(kinds.seconds(), 60.0)


@dataclass(frozen=True)
class Limits:
    max_line: int = setting(kinds.whole(64), 65536)
    idle_timeout: float = setting(kinds.seconds(), 600.0)
    unterminated_timeout: float = setting(kinds.seconds(), 0.05)
    session_ttl: float = setting(kinds.seconds(), 604800.0)
    failed_logins: Rate = setting(kinds.rate, "20/minute")
    registrations: Rate = setting(kinds.rate, "100/minute")


@dataclass(frozen=True)
class Messages:
    poll_interval: float = setting(kinds.seconds(), 2.0)
    message_retention: float = setting(kinds.seconds(), 2592000.0)


@dataclass(frozen=True)
class EC2:
    region: str = setting(kinds.name, "us-east-1")
    endpoint_url: str = setting(kinds.http_url_or_none, "")
    image_id: str = setting(kinds.any_text, "")
    instance_type: tuple[str, ...] = setting(kinds.names, "t3.micro")
    subnet_ids: tuple[str, ...] = setting(kinds.names_or_none, [])
    security_group_ids: tuple[str, ...] = setting(kinds.names_or_none, [])
    key_name: str = setting(kinds.any_text, "")
    iam_instance_profile: str = setting(kinds.any_text, "")
    launch_template: str = setting(kinds.any_text, "")
    address: str = setting(kinds.choice("public", "private", "dns"), "public")
    name: str = setting(kinds.name, "bbs")
    user_data: str = setting(kinds.any_text, "")
    package: str = setting(kinds.any_text, "")


@dataclass(frozen=True)
class Telnet:
    listen: tuple[str, ...] = setting(kinds.endpoints_or_none, "tcp:2323")
    server: str = setting(kinds.server, "127.0.0.1:22222")
    secret: str = setting(kinds.shared_secret, "")


@dataclass(frozen=True)
class Web:
    listen: tuple[str, ...] = setting(kinds.endpoints_or_none, "")
    password_file: str = setting(kinds.any_text, "")


@dataclass(frozen=True)
class Configuration:
    """Every section, and where each key came from.

    `sources` maps a dotted key to `default`, the path of the configuration file, the environment
    variable, `option`, or the path of the file that holds the secret. Two configurations are equal
    when their values are.
    """

    login: Login = Login()
    app: App = App()
    database: Database = Database()
    broker: Broker = Broker()
    fleet: Fleet = Fleet()
    limits: Limits = Limits()
    messages: Messages = Messages()
    ec2: EC2 = EC2()
    telnet: Telnet = Telnet()
    web: Web = Web()
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


_DEFAULTS = Configuration()
_SECTIONS = [section.name for section in fields(Configuration) if section.name != "sources"]
_KINDS: Mapping[str, Kind[Any]] = {
    f"{section}.{key.name}": key.metadata["kind"]
    for section in _SECTIONS
    for key in fields(getattr(_DEFAULTS, section))
}
_SECRET_FILES: Mapping[str, str] = {
    f"{key}_file": key for key, kind in _KINDS.items() if kind.secret
}
_KEYS = [*_KINDS, *_SECRET_FILES]

_RELATIONS = (
    ("fleet.minimum", "at most", "fleet.maximum"),
    ("fleet.lost_after", "above", "fleet.heartbeat_interval"),
    ("fleet.lease_timeout", "above", "fleet.heartbeat_interval"),
)
_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {"at most": operator.le, "above": operator.gt}


@dataclass(frozen=True)
class _Given:
    """A value that somebody gave to a key, where (`place` is what an error names), and whether it
    is a text that stands for the value, as in the environment."""

    key: str
    value: object
    place: str
    as_text: bool = False


def load(
    path: str | None,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, object] = MappingProxyType({}),
) -> Configuration:
    """The configuration from `path` (None: no file), the environment and the options.

    Options are keyed by dotted keys, `"database.url"`; their texts are read as the environment's
    are, and an option of None was not given. Raises `ConfigError`.
    """
    values: dict[str, object] = {}
    sources = dict.fromkeys(_KINDS, "default")
    for layer in (_from_file(path), _from_environment(environ), _from_options(options)):
        taken: set[str] = set()
        for given in map(_resolve, layer):
            values[given.key] = _check(given)
            if given.key in taken:
                raise ConfigError(f"{given.place}: {given.key} is set, and {given.key}_file too")
            taken.add(given.key)
            sources[given.key] = given.place
    config = Configuration(sources=MappingProxyType(sources))
    for dotted, value in values.items():
        section, _, key = dotted.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{key: value})})
    _check_together(config)
    return config


def masked(config: Configuration) -> list[tuple[str, str, str]]:
    """Each key, its value as TOML with passwords masked, and where it came from."""
    return [
        (key, write(kind.masked(value) if kind.secret else value), config.sources.get(key, "code"))
        for key, value in _values(config)
        for kind in [_KINDS[key]]
    ]


def to_toml(config: Configuration) -> str:
    """A TOML text, secrets included, that loads to an equal configuration."""
    lines: list[str] = []
    section = ""
    for dotted, value in _values(config):
        before, (section, _, key) = section, dotted.partition(".")
        if section != before:
            lines += [f"[{section}]"]
        lines += [f"{key} = {write(value)}"]
    return "\n".join(lines) + "\n"


def _values(config: Configuration) -> Iterator[tuple[str, object]]:
    for dotted in _KINDS:
        section, _, key = dotted.partition(".")
        yield dotted, getattr(getattr(config, section), key)


def _from_file(path: str | None) -> Iterator[_Given]:
    if path is None:
        return
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError as well as TOMLDecodeError
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for section, table in document.items():
        if section not in _SECTIONS:
            raise ConfigError(f"{path}: unknown section [{section}], {_nearest(section)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section} must be a section, [{section}]")
        for key, value in table.items():
            yield _Given(f"{section}.{key}", value, path)


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for variable, value in sorted(environ.items()):
        prefix, _, rest = variable.partition("_")
        section, _, key = rest.lower().partition("_")
        if prefix == "BBS" and section in _SECTIONS and key:
            yield _Given(f"{section}.{key}", value, variable, as_text=True)


def _from_options(options: Mapping[str, object]) -> Iterator[_Given]:
    for key, value in options.items():
        if value is not None:
            yield _Given(key, value, "option", as_text=isinstance(value, str))


def _resolve(given: _Given) -> _Given:
    """What was given to a `…_file` key, as if its file's content had been given to the key itself.

    Such a file holds one value, or one a line.
    """
    if given.key not in _SECRET_FILES:
        return given
    file = str(given.value)
    try:
        lines = [line for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(f"{given.place}: {given.key}: {file}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"{given.place}: {given.key}: {file!r} is no text file") from error
    return _Given(_SECRET_FILES[given.key], lines[0] if len(lines) == 1 else lines, file)


def _check(given: _Given) -> Any:
    """The value, as its key's kind makes it."""
    kind = _KINDS.get(given.key)
    if kind is None:
        raise ConfigError(f"{given.place}: unknown key {given.key}, {_nearest(given.key)}")
    try:
        return kind.read(kind.from_text(str(given.value)) if given.as_text else given.value)
    except ValueError:
        # The cause is left out: its text may hold the secret.
        shown = "" if kind.secret else f", not {given.value!r}"
        raise ConfigError(f"{given.place}: {given.key} must be {kind.right}{shown}") from None


def _nearest(key: str) -> str:
    """What somebody may have meant who wrote an unknown key or section."""
    section, dot, _ = key.partition(".")
    keys = [each for each in _KEYS if each.startswith(f"{section}.")]
    close = difflib.get_close_matches(key, _KEYS if dot else _SECTIONS, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(keys or _SECTIONS)}"


def _check_together(config: Configuration) -> None:
    """Refuse values that are right one by one and impossible together."""
    values = dict(_values(config))
    for key, relation, other in _RELATIONS:
        if not _HOLDS[relation](values[key], values[other]):
            place = next(at for at in map(config.sources.get, (key, other)) if at != "default")
            raise ConfigError(
                f"{place}: {key} ({values[key]}) must be {relation} {other} ({values[other]})"
            )
    if config.fleet.provider == "ec2" and not (config.ec2.image_id or config.ec2.launch_template):
        place = config.sources["fleet.provider"]
        raise ConfigError(f"{place}: ec2.image_id or ec2.launch_template must say what to launch")
