"""What was public in the version before is public today: `docs/developers/stability.md`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from peewee import DoubleField
from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import Place, User
from lab.rolling.versions import BEFORE, environ, unpack
from tests import public_surface
from tests.paths import CHECKOUT
from tests.public_surface import Parameter, Surface, surface

IN_INSTANCES = {"bbs.protocols.stomp.StompService.last_error"}
"""Attributes that were properties, and are set by a constructor now."""

NEW_DEFAULTS: set[str] = set()
"""Configuration keys with another default than before; NEWS names them."""


QUERIES = {"alias", "get_by_id", "get_or_none", "select"}
"""What peewee gives each table."""


def broken(before: Surface, today: Surface) -> set[str]:
    """The names that are gone, or take fewer arguments than they did, or need more; and what an
    interface asks anew of those who implement it."""
    return {
        name
        for name, parameters in before.items()
        if name not in today or not _takes(today[name], parameters)
    } | {
        name
        for name in today.keys() - before.keys()
        if "()." in name and name.partition("()")[0] in before
    }


def _takes(today: Sequence[Parameter], before: Sequence[Parameter]) -> bool:
    places, old_places = _places(today), _places(before)
    if "VAR_POSITIONAL" not in _kinds(before):
        places = places[: len(old_places)]  # The rest is new, and stands behind.
    return (
        places == old_places
        and _kinds(before) <= _kinds(today)
        and _keywords(before) <= _keywords(today)
        and _needed(today) <= _needed(before)
    )


def _places(parameters: Sequence[Parameter]) -> list[str]:
    return [name for name, kind, _ in parameters if kind.startswith("POSITIONAL")]


def _keywords(parameters: Sequence[Parameter]) -> set[str]:
    return {name for name, kind, _ in parameters if kind.endswith(("OR_KEYWORD", "KEYWORD_ONLY"))}


def _needed(parameters: Sequence[Parameter]) -> set[str]:
    return {
        name
        for name, kind, is_optional in parameters
        if not is_optional and not kind.startswith("VAR")
    }


def _kinds(parameters: Sequence[Parameter]) -> set[str]:
    """The kinds of those that take any number of arguments."""
    return {kind for _, kind, _ in parameters if kind.startswith("VAR")}


class Stability(SynchronousTestCase):
    """The promise is between a version and the next one."""

    def before(self, *arguments: str) -> str:
        """What Python prints with the code of the version before."""
        return self.run_python(*arguments, **environ(unpack(Path(self.mktemp()).absolute())))

    def run_python(self, *arguments: str, **environment: str) -> str:
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            env={**os.environ, **environment},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def test_the_version_before(self) -> None:
        self.assertEqual(self.before("-m", "bbs", "--version"), f"bbs {BEFORE}\n")

    def test_names(self) -> None:
        before = json.loads(self.before(public_surface.__file__))
        self.assertIn("bbs.framework.Service", before)
        self.assertEqual(broken(before, surface()), IN_INSTANCES)

    def test_configuration(self) -> None:
        keys = ("-m", "bbs", "config", "keys")
        before, today = (
            tomllib.loads(text) for text in (self.before(*keys), self.run_python(*keys))
        )
        changed = {
            f"{section}.{key}"
            for section, values in before.items()
            for key, default in values.items()
            if today[section][key] != default
        }
        self.assertEqual(changed, NEW_DEFAULTS)

    def test_what_is_found(self) -> None:
        first, second = ("first", "POSITIONAL_OR_KEYWORD", False), ("second", "KEYWORD_ONLY", True)
        rest, new = ("rest", "VAR_POSITIONAL", False), ("new", "POSITIONAL_OR_KEYWORD", True)
        before = [first, second]
        for today in (
            before,
            [("first", "POSITIONAL_OR_KEYWORD", True), second],
            [first, new, second],
            [first, rest, second],
        ):
            self.assertEqual(broken({"name": before}, {"name": today}), set(), today)
        for today in (
            [first],
            [new, first, second],
            [first, ("second", "KEYWORD_ONLY", False)],
            [first, second, ("third", "KEYWORD_ONLY", False)],
            [("first", "POSITIONAL_ONLY", False), second],
            [("first", "KEYWORD_ONLY", False), second],
        ):
            self.assertEqual(broken({"name": before}, {"name": today}), {"name"}, today)
        self.assertEqual(broken({"name": [first, rest]}, {"name": [first, new, rest]}), {"name"})
        self.assertEqual(broken({"name": [first, rest]}, {"name": [first]}), {"name"})
        self.assertEqual(broken({"name": []}, {}), {"name"})
        interface: Surface = {"IName": [], "IName().method": []}
        self.assertEqual(broken(interface, {**interface, "IName().other": []}), {"IName().other"})
        self.assertEqual(broken({}, interface), set())


class Columns(SynchronousTestCase):
    """The columns of the framework's tables that a service may use."""

    def setUp(self) -> None:
        page = (CHECKOUT / "docs/developers/stability.md").read_text()
        rows = re.findall(r"^  \| `(User|Place)` \| (.*) \|$", page, re.M)
        self.promised = {table: {*re.findall(r"`([a-z]+)`", text)} for table, text in rows}

    def test_they_are_there(self) -> None:
        self.assertEqual(self.promised["User"], {"id", "name", "channel", "created", "seen"})
        self.assertEqual(self.promised["Place"], {"user", "server"})
        for model in (User, Place):
            columns = self.promised[model.__name__]
            self.assertLessEqual(columns, model._meta.fields.keys())
        self.assertIs(User._meta.primary_key, User.id)
        self.assertIs(Place._meta.primary_key, Place.user)
        for seconds in (User.created, User.seen):
            self.assertIsInstance(seconds, DoubleField)
        self.assertEqual((User.seen.null, Place.server.null), (True, True))
        self.assertIs(Place.user.rel_model, User)

    def test_others_use_no_more(self) -> None:
        """Documents, examples and the projects that `bbs new` makes."""
        files = [*(CHECKOUT / "docs/developers").glob("*.md")]
        for folder in ("examples", "bbs/cli/templates"):
            files += (CHECKOUT / folder).rglob("*.py")
        for file in files:
            for table, column in re.findall(r"\b(User|Place)\.([a-z_]+)", file.read_text()):
                if column not in QUERIES:
                    self.assertIn(column, self.promised[table], file)
