"""The logs of app servers that have ended."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.config import load
from bbs.scaling.local import mark_in_use, remove_old_logs
from bbs.scaling.providers import configuration_text


class Old(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def write(self, *names: str, at: int = 0) -> None:
        """Files that were written to in this order."""
        for number, name in enumerate(names):
            (self.folder / name).touch()
            os.utime(self.folder / name, (at + number, at + number))

    def left(self, keep: int) -> list[str]:
        remove_old_logs(str(self.folder), keep)
        return sorted(os.listdir(self.folder))

    def test_the_last_stay(self) -> None:
        self.write("app-c.log", "app-a.log", "app-b.log", "app-d.log")
        self.assertEqual(self.left(5), ["app-a.log", "app-b.log", "app-c.log", "app-d.log"])
        self.assertEqual(self.left(2), ["app-b.log", "app-d.log"])

    def test_with_those_before_it(self) -> None:
        self.write("app-a.log", "app-a.log.1", "app-a.log.2", "app-b.log.1", "app-b.log")
        self.assertEqual(self.left(1), ["app-b.log", "app-b.log.1"])

    def test_one_that_is_in_use_stays(self) -> None:
        """Whoever has a copy of its descriptor uses it."""
        self.write("app-a.log", "app-b.log", "app-c.log")
        descriptor = os.open(self.folder / "app-a.log", os.O_WRONLY)
        mark_in_use(descriptor)
        copy = os.dup(descriptor)
        os.close(descriptor)
        self.assertEqual(self.left(1), ["app-a.log", "app-c.log"])
        os.close(copy)
        self.assertEqual(self.left(1), ["app-c.log"])

    def test_what_is_none(self) -> None:
        others = ["app-a.log-20260101", "app-a.log.gz", "app-a.txt", "bbs.log", "security.log"]
        self.write(*others, "app-z.log", "app-y.log")
        (self.folder / "app-link.log").symlink_to(self.folder / "bbs.log")
        self.assertEqual(self.left(1), sorted(["app-link.log", "app-y.log", *others]))


class Form(SynchronousTestCase):
    """Whether a child's log is text or JSON."""

    def told(self, form: str) -> dict[str, object]:
        """What a child's configuration says of its log."""
        config = load(None, {}, {"log.format": form})
        text = configuration_text(config, ("stomp://h",), config.app.listen)
        return dict(tomllib.loads(text)["log"])

    def test_it_is_its_parents(self) -> None:
        self.assertEqual(self.told("json")["format"], "json")

    def test_servers_of_before_know_of_text_alone(self) -> None:
        """An image may have one, which would refuse what it does not know."""
        self.assertNotIn("format", self.told("text"))
