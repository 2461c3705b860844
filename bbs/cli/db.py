"""`bbs db`: the version of the database's schema, and the way to today's."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import peewee

from bbs.cli import Program
from bbs.cli.offline import configuration, connected
from bbs.config import ConfigError
from bbs.storage import migrations
from bbs.storage.engines import DatabaseRefused, without_password
from bbs.storage.schema import Schema


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs db`; returns the exit code."""
    parser = program.parser("db", __doc__)
    parser.add_argument("action", choices=("upgrade", "status"))
    program.placed(parser)
    options = parser.parse_args(argv)
    try:
        url = configuration(options.config, options.data, program.name).database.url
        with connected(url, create=options.action == "upgrade") as database:
            done = _act(options.action, database, program.service().schema)
            print(f"{without_password(url)}: {done}")
    except (ConfigError, DatabaseRefused) as error:
        print(f"{program.name} db: {error}", file=sys.stderr)
        return 1
    return 0


def _act(action: str, database: peewee.Database, schema: Schema) -> str:
    if action == "status":
        there = migrations.current(database)
        migrations.check_owner(there, schema)
        said = (
            f"schema {there.framework}, this program's is {migrations.VERSION};"
            f" {schema.name} {there.service}, this program's is {schema.version}"
        )
        older = there.framework_from < there.framework or there.service_from < there.service
        if not older or not there.name:
            return said
        return (
            f"{said}; programs of schema {there.framework_from} and"
            f" {there.name} {there.service_from} can work on it, too"
        )
    before, after = migrations.upgrade(database, schema)
    changes = [
        _change("schema", before.framework, after.framework),
        _change(schema.name, before.service, after.service),
    ]
    return "; ".join(changes)


def _change(what: str, before: int, after: int) -> str:
    return f"{what} {after}, as before" if before == after else f"{what} {before} -> {after}"
