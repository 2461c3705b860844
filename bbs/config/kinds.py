"""Kinds of configuration values: how each is read, checked and written.

Sections declare their keys with these. A kind takes what TOML gives, or the text of an environment
variable or option, and makes a value from that, or refuses it and says what would be right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from ipaddress import ip_network
from math import inf, isfinite
from typing import Generic, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from bbs.core.addresses import PRIVATE, Address, ListeningPlace, ServerPlace, fill_name, has_tls
from bbs.core.database_urls import FORM, IN_C, IN_PYTHON, MalformedURL, MySQLURL
from bbs.core.values import UNITS, Rate, Size

T = TypeVar("T")

_LONGEST = 1e9  # s, some thirty years: a longer time-out is a slip of the keyboard


class NotInstalled(ValueError):
    """A value needs something that is not installed; the text says what, and no secret."""


class Malformed(ValueError):
    """A value is malformed for a known reason. The text ends the sentence "the key must be …", and
    shows nothing of the value."""


def mask(value: object) -> object:
    """The value with `***` for the password in each URL of it."""
    if isinstance(value, tuple):
        return tuple(mask(element) for element in value)
    text = str(value)
    head, separator, rest = text.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{head}{separator}{user}{colon}***{at}{place}" if colon else text


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A set of values that a key takes.

    `right` ends the sentence "the key must be …". `read` makes the value from what TOML gave, or
    raises ValueError (`NotInstalled` or `Malformed`, if that is why). `from_text` turns an
    environment variable into what TOML would have given. A `secret` value is shown only as
    `masked`, and may stand in a file instead.
    """

    right: str
    read: Callable[[object], T]
    from_text: Callable[[str], object] = str
    secret: bool = False
    masked: Callable[[object], object] = mask

    def expected(self, error: ValueError) -> str:
        """What ends the sentence, where `read` has raised this error."""
        return str(error) if isinstance(error, Malformed) else self.right


def hidden(kind: Kind[T]) -> Kind[T]:
    """Make `kind` a secret of which no part is shown."""
    return replace(kind, secret=True, masked=lambda value: value and "***")


def whole(at_least: float = -inf, at_most: float = inf) -> Kind[int]:
    """Whole numbers, from `at_least` on, up to `at_most`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(value)
        if not at_least <= value <= at_most:
            raise ValueError(value)
        return value

    return Kind(f"a whole number{_within(at_least, at_most)}", read, int)


def whole_or(word: str, at_least: float) -> Kind[int | str]:
    """Whole numbers from `at_least` on, or `word` for a number that the service finds itself."""
    numbers = whole(at_least)
    return Kind(
        f'{numbers.right}, or "{word}"',
        lambda value: word if value == word else numbers.read(value),
        lambda given: given if given == word else int(given),
    )


def _number(right: str, fits: Callable[[float], bool]) -> Kind[float]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(value)
        try:
            found = float(value)
        except OverflowError as error:
            raise ValueError(value) from error
        if not isfinite(found) or not fits(found):
            raise ValueError(value)
        return found

    return Kind(right, read, float)


def number(at_least: float = -inf, at_most: float = inf) -> Kind[float]:
    """Numbers, from `at_least` on, up to `at_most`."""
    right = f"a number{_within(at_least, at_most)}"
    return _number(right, lambda found: at_least <= found <= at_most)


def _within(at_least: float, at_most: float) -> str:
    if at_most == inf:
        return "" if at_least == -inf else f", {at_least} or more"
    return f", at most {at_most}" if at_least == -inf else f", {at_least} to {at_most}"


def seconds(*, zero: bool = False) -> Kind[float]:
    """Durations in seconds, above zero unless `zero` is allowed."""
    least = "0 or more" if zero else "above 0"
    return _number(
        f"a number of seconds, {least} and at most {_LONGEST:.0e}",
        lambda found: 0 <= found <= _LONGEST and (zero or found > 0),
    )


def text(right: str, check: Callable[[str], bool], *, secret: bool = False) -> Kind[str]:
    """Texts without control characters that pass `check`."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or not check(value):
            raise ValueError(value)
        return value

    return Kind(right, read, secret=secret)


def several(one: Kind[T], *, empty: bool = False) -> Kind[tuple[T, ...]]:
    """One value or a list of them; `""` is the empty list, where `empty` allows it.

    In the environment a list is written as in TOML, `["a", "b"]`; any other text is one element.
    """

    def read(value: object) -> tuple[T, ...]:
        if value == "" and empty:
            return ()
        elements = value if isinstance(value, (list, tuple)) else [value]
        if not elements and not empty:
            raise ValueError(value)
        return tuple(one.read(element) for element in elements)

    return Kind(f"{one.right}, or a list of them", read, _list_or_one, one.secret)


def _list_or_one(given: str) -> object:
    return tomllib.loads(f"list = {given}")["list"] if given.startswith("[") else given


def choice(*allowed: str) -> Kind[str]:
    """One of some words."""
    *others, last = [f'"{word}"' for word in allowed]
    right = f"{', '.join(others)} or {last}" if others else last
    return text(right, allowed.__contains__)


def _split(url: str) -> SplitResult:
    """The parts of a URL; ValueError for parts that none of our URLs may have."""
    parts = urlsplit(url)
    if parts.port == 0 or parts.fragment or not unquote(url).isprintable():
        raise ValueError  # a # in a password has to be written %23
    return parts


def is_reference(value: str) -> bool:
    """Whether a value only names a secret in a store of AWS (`references.py`)."""
    return re.fullmatch(r"ssm:/[\w./-]+|secretsmanager:[\w/+=.@:-]+", value, re.ASCII) is not None


def _is_database(url: str) -> bool:
    if is_reference(url):
        return True
    if url.startswith("sqlite:"):
        return re.fullmatch(r"sqlite:///[^?#]+", url) is not None and "\0" not in unquote(url)
    try:
        named = MySQLURL.parse(url)
        if not named.user:
            raise MalformedURL("USER is missing")
    except MalformedURL as error:
        raise Malformed(f'"{FORM}": {error}') from None
    if named.scheme == IN_C and find_spec("_mysql_connector") is None:
        raise NotInstalled(f"{IN_C}:// needs a driver in C: pip install 'txbbs[fast-mysql] >= 0.4'")
    return True


def _is_broker(url: str) -> bool:
    if is_reference(url):
        return True
    parts = _split(url)
    return (
        parts.scheme in ("stomp", "stomp+ssl")
        and bool(parts.hostname)
        and not parts.query
        and (parts.scheme == "stomp" or has_tls())
    )


def _is_http(url: str) -> bool:
    return _split(url).scheme in ("http", "https") and bool(_split(url).hostname)


def _is_collector(url: str) -> bool:
    parts = _split(url)
    if "@" in parts.netloc or parts.query:
        return False  # It would be shown; OTEL_EXPORTER_OTLP_HEADERS takes a credential.
    # The path of traces is added, so here it would stand twice.
    return _is_http(url) and not parts.path.rstrip("/").endswith("/v1/traces")


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _read_endpoint(value: object) -> ListeningPlace:
    return ListeningPlace.parse(any_text.read(value))


def _read_pem(value: object) -> str:
    if not isinstance(value, str) or "-----BEGIN " not in value:
        raise ValueError
    return value


def _is_pattern(value: str) -> bool:
    name = fill_name(value, "192.0.2.1")
    return value.count(PRIVATE) == 1 and Address.told(name, 1).host == name


def _read_brokers(value: object) -> tuple[str, ...]:
    embedded = ("embedded", ["embedded"], ("embedded",))
    return ("embedded",) if value in embedded else named_brokers.read(value)


_ENDPOINT = 'an endpoint such as "tcp:22222" ("ssl:…" where txbbs[tls] is installed)'
_ESCAPES = "% escapes for special characters in USER and PASSWORD"
_REFERENCE = '"ssm:/NAME" or "secretsmanager:NAME" where it is kept'

flag = Kind(
    "true or false", _read_flag, lambda given: {"true": True, "false": False}.get(given, given)
)
any_text = text("a text without control characters", lambda value: True)
any_texts = several(any_text, empty=True)
endpoints = several(Kind(_ENDPOINT, _read_endpoint))
endpoints_or_none = several(Kind(f'{_ENDPOINT}, "" for none', _read_endpoint), empty=True)
name = text("a text that is not empty", bool)
server = text(
    'where a server is, such as "127.0.0.1:22222" or "[::1]:22222", or by TLS, where txbbs[tls] is'
    ' installed, "tls://HOST:PORT?tls_ca=FILE&tls_name=NAME"',
    lambda value: bool(ServerPlace.parse(value)),
)
shared_secret = hidden(
    text(
        'a text without spaces, of 16 characters or more, "" for none',
        lambda value: not value or (len(value) >= 16 and " " not in value),
    )
)
told_address = text(
    'where people reach a server, "HOST" or "HOST:PORT", "" for what it finds out',
    lambda value: not value or bool(Address.told(value, 1)),
)
instance_address = text(
    f'"public", "private" or "dns", or a name such as "ip-{PRIVATE}.example.org", where {PRIVATE}'
    " stands for the private address with dashes",
    lambda value: value in ("public", "private", "dns") or _is_pattern(value),
)
pem = Kind("a key and its certificates (PEM)", _read_pem, secret=True)
names = several(name)
names_or_none = several(name, empty=True)
network = Kind(
    'a network such as "192.0.2.0/24" or "::1"', lambda value: ip_network(any_text.read(value))
)
networks_or_none = several(network, empty=True)
size = Kind('a size such as "10 MiB" (KiB, MiB, GiB)', lambda value: Size.parse(str(value)))
rate = Kind(
    f'a rate such as "20/minute" ({", ".join(UNITS)})', lambda value: Rate.parse(str(value))
)
log_group_or_none = text(
    'the name of a log group such as "/bbs/bbs", "" for none',
    lambda value: re.fullmatch(r"[\w./#-]{0,512}", value, re.ASCII) is not None,
)
http_url_or_none = text(
    'a URL such as "http://127.0.0.1:5000", "" for none', lambda value: not value or _is_http(value)
)
collector_or_none = text(
    'a URL such as "http://127.0.0.1:4318" without a credential and without /v1/traces, which is'
    ' added, "" for none',
    lambda value: not value or _is_collector(value),
    secret=True,  # One with a credential is refused, and not shown.
)
share = _number("a number from 0 to 1", lambda found: 0 <= found <= 1)
database_url = text(
    f'"sqlite:///PATH" or "{FORM}", with hosts'
    f" in the order in which they are tried ({_ESCAPES};"
    f' "{IN_PYTHON}://…", or "{IN_C}://…" where txbbs[fast-mysql] is installed),'
    f" or {_REFERENCE}",
    _is_database,
    secret=True,
)
named_brokers = several(
    text(
        '"embedded" alone, "stomp://USER:PASSWORD@HOST:61613" or, where txbbs[tls] is installed,'
        f' "stomp+ssl://…" ({_ESCAPES}), or {_REFERENCE}',
        _is_broker,
        secret=True,
    )
)
broker_urls = Kind(named_brokers.right, _read_brokers, _list_or_one, secret=True)
