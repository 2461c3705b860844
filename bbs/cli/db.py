"""`bbs db`: the version of the database's schema, and the way to today's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import peewee

from bbs.cli.offline import configuration, connected
from bbs.config import ConfigError
from bbs.storage import migrations
from bbs.storage.connecting import DatabaseRefused, without_password


def main(argv: Sequence[str]) -> int:
    """Run with the arguments behind `bbs db`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bbs db", description=__doc__)
    parser.add_argument("action", choices=("upgrade", "status"))
    parser.add_argument("--config", help="configuration file (TOML)")
    parser.add_argument("--data", help="folder of a bbs up")
    options = parser.parse_args(argv)
    try:
        url = configuration(options.config, options.data).database.url
        with connected(url, create=options.action == "upgrade") as database:
            print(f"{without_password(url)}: {_act(options.action, database)}")
    except (ConfigError, DatabaseRefused) as error:
        print(f"bbs db: {error}", file=sys.stderr)
        return 1
    return 0


def _act(action: str, database: peewee.Database) -> str:
    if action == "status":
        version = migrations.current(database)
        return f"schema {version}, this program's is {migrations.VERSION}"
    before, after = migrations.upgrade(database)
    return f"schema {after}, as before" if before == after else f"schema {before} -> {after}"
