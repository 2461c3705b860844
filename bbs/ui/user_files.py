"""Files that the client keeps for whoever runs it, and the last server among them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bbs.core.addresses import Address


def state_file(environ: Mapping[str, str], name: str) -> Path:
    """Where what the client remembers under `name` is."""
    return _place(environ, "XDG_STATE_HOME", ".local/state", name)


def settings_file(environ: Mapping[str, str], name: str) -> Path:
    """Where what somebody has set under `name` is."""
    return _place(environ, "XDG_CONFIG_HOME", ".config", name)


def _place(environ: Mapping[str, str], variable: str, otherwise: str, name: str) -> Path:
    """By the XDG Base Directory Specification (0.8): in the folder that `variable` names, which
    counts only when it is absolute, and else in one of the home's."""
    folder = environ.get(variable, "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(folder if os.path.isabs(folder) else f"{home}/{otherwise}") / "bbs" / name


DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 22222

MOST_READ = 64 * 1024
"""Bytes of the file that are looked at."""


@dataclass(frozen=True)
class LastServer:
    """A service as somebody named it: its login server, and whether by TLS, with the authorities of
    the file `ca` or (empty) the system's."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    tls: bool = False
    ca: str = ""

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)


def last_server_file(environ: Mapping[str, str]) -> Path:
    """Where it is kept."""
    return state_file(environ, "last-host")


def read_last_server(path: Path) -> LastServer:
    """What is kept at `path`; this machine's where there is nothing, or nothing of use. It
    blocks."""
    try:
        with open(path, "rb") as file:
            members = json.loads(file.read(MOST_READ))
        address = Address.from_json(members)
        tls, ca = members.get("tls"), members.get("ca")
    except (OSError, ValueError, RecursionError):
        return LastServer()
    if not isinstance(tls, bool) or not isinstance(ca, str):
        return LastServer()
    return LastServer(address.host, address.port, tls, ca)


def keep_last_server(path: Path, service: LastServer) -> None:
    """Keep `service` at `path`, for its owner's eyes alone, if that can be. It blocks."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        if path.exists() and read_last_server(path) == service:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(service), file)
        os.replace(new, path)
    except (OSError, ValueError):
        return  # Then it has to be named the next time, as it was this time.
