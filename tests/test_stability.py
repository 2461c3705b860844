"""What was public in the version before is public today: `docs/developers/stability.md`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import public_surface
from tests.load.rolling.versions import environ, unpack
from tests.public_surface import Parameter, Surface, surface

IN_INSTANCES = {"bbs.protocols.stomp.StompService.last_error"}
"""Attributes that were properties, and are set by a constructor now."""


def broken(before: Surface, today: Surface) -> Sequence[str]:
    """The names that are gone, or cannot be called in every way in which they could be."""
    return [
        name
        for name, parameters in before.items()
        if name not in today or not _takes(today[name], parameters)
    ]


def _takes(today: Sequence[Parameter], before: Sequence[Parameter]) -> bool:
    places, old_places = (
        [name for name, has_place, _ in each if has_place] for each in (today, before)
    )
    names, old_names = ({name for name, _, _ in each} for each in (today, before))
    needed, old_needed = (
        {name for name, _, is_optional in each if not is_optional} for each in (today, before)
    )
    return places[: len(old_places)] == old_places and old_names <= names and needed <= old_needed


def run(*arguments: str, tree: Path | None = None) -> str:
    """What Python prints, with the code in `tree` or else with today's."""
    environment = environ(tree) if tree else {}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


class Stability(SynchronousTestCase):
    """The promise is between a version and the next one."""

    def test_names(self) -> None:
        before = json.loads(run(public_surface.__file__, tree=unpack(self.folder())))
        self.assertIn("bbs.framework.Service", before)
        self.assertEqual(set(broken(before, surface())), IN_INSTANCES)

    def test_configuration(self) -> None:
        """Each key is there, with the default that it had."""
        command = ("-m", "bbs", "config", "keys")
        before = tomllib.loads(run(*command, tree=unpack(self.folder())))
        today = tomllib.loads(run(*command))
        for section, keys in before.items():
            self.assertEqual({**today[section], **keys}, today[section])

    def folder(self) -> Path:
        return Path(self.mktemp()).absolute()

    def test_what_is_found(self) -> None:
        before = {"name": [("first", True, False), ("second", True, True), ("third", False, True)]}
        for today, is_right in (
            ([("first", True, False), ("second", True, True), ("third", False, True)], True),
            ([("first", True, True), ("second", True, True), ("third", False, True)], True),
            ([*before["name"], ("fourth", True, True)], True),
            ([*before["name"], ("fourth", True, False)], False),
            ([("zeroth", True, True), *before["name"]], False),
            (before["name"][:2], False),
            ([("first", True, False), ("second", True, False), ("third", False, True)], False),
            ([("first", True, False), ("second", False, True), ("third", False, True)], False),
        ):
            self.assertEqual(broken(before, {"name": today}), [] if is_right else ["name"], today)
        self.assertEqual(broken(before, {}), ["name"])
