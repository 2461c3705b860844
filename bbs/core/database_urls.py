"""URLs of databases of MySQL, of the form `FORM`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

BY_ANY = "mysql"  # By the driver in C, if it is installed, else by PyMySQL.
IN_C = "mysql+mysqlconnector"
IN_PYTHON = "mysql+pymysql"
SCHEMES = (BY_ANY, IN_C, IN_PYTHON)
"""The schemes of MySQL, named as in SQLAlchemy; two of them name the driver."""

FORM = "mysql://USER:PASSWORD@HOST:3306,HOST2:3306/NAME?tls_ca=FILE"

PORT = 3306


class Place(NamedTuple):
    """Where a server of MySQL listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MalformedURL(ValueError):
    """The reason why a URL is malformed, without any part of it, as that may be of a password."""


@dataclass(frozen=True)
class MySQLURL:
    """A database of MySQL, on servers that are tried in this order; `tls_ca` may be ""."""

    scheme: str
    user: str
    password: str
    places: tuple[Place, ...]
    name: str
    tls_ca: str

    @classmethod
    def parse(cls, url: str) -> MySQLURL:
        """Raises `MalformedURL`, with a reason that may be shown, or another ValueError."""
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        if parts.scheme not in SCHEMES or not unquote(url).isprintable():
            raise ValueError(f"not a URL of MySQL: {parts.scheme}")
        if parts.fragment:
            raise MalformedURL("a # has to be %23")
        if not options.keys() <= {"tls_ca"}:
            raise MalformedURL("tls_ca is the only option")
        places = tuple(_place(number, host) for number, host in enumerate(hosts.split(","), 1))
        if len(set(places)) < len(places):
            raise MalformedURL("a host is there twice")
        if not re.fullmatch("/[^/]+", parts.path):
            raise MalformedURL("NAME is missing or has a /")
        return cls(
            parts.scheme,
            unquote(user),
            unquote(password),
            places,
            unquote(parts.path[1:]),
            options.get("tls_ca", [""])[0],
        )


def _place(number: int, text: str) -> Place:
    parts = urlsplit(f"//{text}")
    try:
        port = PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    host = parts.hostname or ""
    # (Between brackets, `urlsplit` takes addresses alone.)
    if not (text.startswith("[") or re.fullmatch(r"[\w.-]+", host)) or port == 0:
        raise MalformedURL(f"host {number} is not HOST or HOST:PORT")
    return Place(host, port)
