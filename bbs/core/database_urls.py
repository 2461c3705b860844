"""URLs of databases: `mysql://USER:PASSWORD@HOST1:3306,HOST2:3306/NAME?tls_ca=FILE`."""

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

PORT = 3306


class Place(NamedTuple):
    """Where a server of MySQL listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
        """ValueError if `url` is malformed."""
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        if (
            parts.scheme not in SCHEMES
            or not re.fullmatch("/[^/]+", parts.path)
            or parts.fragment  # A # in a password has to be written %23.
            or not options.keys() <= {"tls_ca"}
            or not unquote(url).isprintable()
        ):
            raise ValueError(f"not a URL of MySQL: {parts.scheme}")
        places = tuple(_place(host) for host in hosts.split(","))
        if len(set(places)) < len(places):
            raise ValueError("a host is named twice")
        return cls(
            parts.scheme,
            unquote(user),
            unquote(password),
            places,
            unquote(parts.path[1:]),
            options.get("tls_ca", [""])[0],
        )


def _place(text: str) -> Place:
    parts = urlsplit(f"//{text}")
    host = parts.hostname or ""
    # (Between brackets, `urlsplit` takes addresses alone.)
    if not (text.startswith("[") or re.fullmatch(r"[\w.-]+", host)) or parts.port == 0:
        raise ValueError("not HOST or HOST:PORT")
    return Place(host, parts.port or PORT)
