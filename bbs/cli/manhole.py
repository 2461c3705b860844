"""`NAME manhole SERVER`: attaches the terminal to a Python prompt in a running server."""

from __future__ import annotations

import codecs
import glob
import os
import select
import socket
import sys
from collections.abc import Sequence

from bbs.cli import Program
from bbs.cli.offline import configuration
from bbs.config import ConfigError
from bbs.daemons.manhole import SERVER
from bbs.ui.output import visible

MANHOLE = "Attach to the manhole of a running server. Ctrl-D ends the session."

READ = 65536  # Bytes at once.


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `NAME manhole`; returns the exit code."""
    parser = program.parser("manhole", MANHOLE)
    parser.add_argument("server", metavar="SERVER", help="the beginning of its id, or its socket")
    program.add_database(parser)
    options = parser.parse_args(argv)
    try:
        path = options.server
        if os.sep not in path:
            config = configuration(options.config, options.data, program.name, program.settings)
            path = find(config.manhole.socket, path)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            _converse(connection)
    except (ConfigError, NoManhole) as error:
        return program.fail("manhole", error)
    except OSError as error:
        return program.fail("manhole", f"{path}: {error.strerror or error}")
    return 0


class NoManhole(Exception):
    """No such socket; the text says why."""


def find(pattern: str, beginning: str) -> str:
    """The socket of the server whose id begins so, by `[manhole] socket`."""
    if not pattern:
        raise NoManhole("manhole.socket is not set: name the socket, or set it")
    if SERVER not in pattern:
        return pattern
    before, after = map(glob.escape, pattern.split(SERVER, 1))
    found = glob.glob(f"{before}{glob.escape(beginning)}*{after}")
    if len(found) != 1:
        many = f"{len(found)} servers" if found else "no server"
        raise NoManhole(f"{many} with an id that begins with {beginning} at {pattern}")
    return found[0]


def _converse(connection: socket.socket) -> None:
    """Pass lines to the server, and its text to the terminal, until one of them ends."""
    waits, has_input = [connection.fileno(), sys.stdin.fileno()], True
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while True:
        ready, _, _ = select.select(waits if has_input else waits[:1], (), ())
        if connection.fileno() in ready:
            data = connection.recv(READ)
            if not data:
                return
            print("\n".join(map(visible, decode(data).split("\n"))), end="", flush=True)
        elif has_input and sys.stdin.fileno() in ready:
            typed = os.read(sys.stdin.fileno(), READ)
            if typed:
                connection.sendall(typed)
            else:
                has_input = False
                connection.shutdown(socket.SHUT_WR)
