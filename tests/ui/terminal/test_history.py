"""What was typed before: in memory, and in a file."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.ui.process import state_file
from bbs.ui.terminal.history import KEPT, MOST_READ, History, HistoryFile, not_kept
from bbs.ui.terminal.interfaces import IHistoryOwner, InputContext


class PlaceTests(SynchronousTestCase):
    def test_by_the_specification(self) -> None:
        for environ, folder in (
            ({"HOME": "/home/ann"}, "/home/ann/.local/state"),
            ({"HOME": "/home/ann", "XDG_STATE_HOME": "not/absolute"}, "/home/ann/.local/state"),
            ({"HOME": "/home/ann", "XDG_STATE_HOME": "/s"}, "/s"),
            ({}, "~/.local/state"),
        ):
            wanted = Path(folder).expanduser() / "bbs" / "history"
            self.assertEqual(state_file(environ, "history"), wanted)


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "state" / "bbs" / "history"
        self.file = HistoryFile(self.path)

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def test_it_is_its_owners_alone(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.assertEqual(self.file.read(), [])
        self.assertEqual((self.mode(self.path.parent), self.mode(self.path)), (0o700, 0o600))
        self.path.chmod(0o644)
        self.assertEqual(self.file.read(), [])
        self.assertEqual(self.mode(self.path), 0o600)
        self.path.unlink()
        self.file.add(["ping"])
        self.assertEqual(self.mode(self.path), 0o600)

    def test_what_is_added_is_read(self) -> None:
        self.file.read()
        self.file.add(["send bob 你好", "ping"])
        self.file.add(["\ud800"])
        self.assertEqual(self.file.read(), ["send bob 你好", "ping", "?"])

    def test_bytes_that_are_no_text(self) -> None:
        self.file.read()
        self.path.write_bytes(b"\xff\n\nping")
        self.assertEqual(self.file.read(), ["\ufffd", "ping"])

    def test_it_is_cut_down(self) -> None:
        self.file.read()
        self.file.add([f"line {number}" for number in range(KEPT + 10)])
        kept = self.file.read()
        self.assertEqual((len(kept), kept[0]), (KEPT, "line 10"))
        self.assertEqual(self.path.read_text().splitlines(), kept)
        self.assertEqual(self.mode(self.path), 0o600)
        self.assertEqual(os.listdir(self.path.parent), ["history"])

    def test_a_huge_one_is_read_from_its_end(self) -> None:
        self.file.read()
        self.path.write_text("first\n" + "x" * MOST_READ + "\nsecond\nlast\n")
        self.assertEqual(self.file.read(), ["second", "last"])
        self.assertEqual(self.path.read_text(), "second\nlast\n")

    def test_a_link_stays_one(self) -> None:
        self.file.read()
        elsewhere = self.path.parent / "elsewhere"
        elsewhere.touch()
        self.path.unlink()
        self.path.symlink_to("elsewhere")
        self.file.add(["line"] * (KEPT + 1))
        self.assertEqual(len(self.file.read()), KEPT)
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(elsewhere.read_text(), "line\n" * KEPT)

    def test_a_device_is_nobodys_own(self) -> None:
        self.file.read()
        self.path.unlink()
        self.path.symlink_to("/dev/null")
        modes: list[object] = []
        self.patch(os, "fchmod", lambda *mode: modes.append(mode))
        self.assertEqual(self.file.read(), [])
        self.file.add(["ping"])
        self.assertEqual((modes, self.path.is_symlink()), ([], True))

    def test_a_file_of_somebody_else_keeps_its_mode(self) -> None:
        self.file.read()
        self.path.chmod(0o640)
        self.patch(os, "geteuid", lambda: self.path.stat().st_uid + 1)
        self.file.read()
        self.assertEqual(self.mode(self.path), 0o640)

    def test_where_there_can_be_none(self) -> None:
        self.path.parent.parent.mkdir(parents=True)
        self.path.parent.write_text("in the way")
        self.assertRaises(OSError, self.file.read)
        self.assertRaises(OSError, self.file.add, ["ping"])


@implementer(IHistoryOwner)
class HistoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kept: list[str] = []
        self.problems: list[str] = []
        self.outcome: Deferred[None] | None = None
        self.history = History(["ping"], self.keep, self)

    def context(self, line: str, as_text: bool) -> InputContext:
        return InputContext()

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def keep(self, lines: Sequence[str]) -> Deferred[None]:
        self.kept += lines
        outcome, self.outcome = self.outcome, None
        return outcome or succeed(None)

    def test_lines_from_before_come_first(self) -> None:
        self.history.append_string("help")
        self.assertEqual(list(self.history.load_history_strings()), ["help", "ping"])
        self.assertEqual(self.kept, ["help"])

    def test_no_password(self) -> None:
        self.history.append_string("login ann secret")
        self.assertEqual(self.history.get_strings(), ["ping", "login ann"])
        self.assertEqual(self.kept, ["login ann"])

    def test_a_line_once_and_no_blank_one(self) -> None:
        for line in ("ping", " ", "help", "help", "a\nb\n\nb"):
            self.history.append_string(line)
        self.assertEqual(self.kept, ["help", "a", "b"])

    def test_a_failure_is_said_once(self) -> None:
        self.outcome = fail(OSError(28, "No space left on device"))
        self.history.append_string("a")
        self.history.append_string("b")
        self.assertEqual(self.problems, ["The history is not saved: No space left on device"])
        self.assertEqual(self.kept, ["a"])
        self.assertEqual(self.history.get_strings(), ["ping", "a", "b"])

    def test_failures_under_way_are_said_once(self) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        for line, outcome in (("a", first), ("b", second)):
            self.outcome = outcome
            self.history.append_string(line)
        first.errback(OSError(28, "full"))
        second.errback(OSError(28, "full"))
        self.assertEqual(len(self.problems), 1)

    def test_without_a_file(self) -> None:
        history = History([], None, self)
        history.append_string("ping")
        self.assertEqual(history.get_strings(), ["ping"])

    def test_words(self) -> None:
        said = not_kept(OSError("odd"))
        self.assertEqual(said, "The history is not saved: odd")

    def test_a_mistake_of_our_own_is_not_taken_for_the_files(self) -> None:
        self.outcome = fail(ZeroDivisionError())
        self.history.append_string("a")
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.problems, [])


@implementer(IHistoryOwner)
class TalkTests(SynchronousTestCase):
    """What is said in a talk is kept out of the commands."""

    def setUp(self) -> None:
        self.kept: list[str] = []
        self.talk: str | None = None
        self.history = History(["ping"], self.keep, self)

    def keep(self, lines: Sequence[str]) -> Deferred[None]:
        self.kept += lines
        return succeed(None)

    def problem(self, text: str) -> None:
        self.fail(text)

    def context(self, line: str, as_text: bool) -> InputContext:
        return InputContext(self.talk, self.talk is not None and (as_text or line[:1] != "/"))

    def type(self, talk: str | None, *lines: str) -> None:
        self.talk = talk
        for line in lines:
            self.history.append_string(line)

    def test_it_is_in_no_file(self) -> None:
        self.type("bob", "hello", "/invite carol", "/login\nlogin ann secret")
        self.type(None, "list-friend")
        self.assertEqual(self.kept, ["/invite carol", "list-friend"])

    def test_the_arrow_keys_bring_it_back_in_that_talk(self) -> None:
        self.type("bob", "hello", "/invite carol", "login ann secret")
        self.type("carol", "hi")
        said = ["hello", "/invite carol", "login ann secret"]
        self.talk = "bob"
        self.assertEqual(self.history.get_strings(), said)
        self.talk = "carol"
        self.assertEqual(self.history.get_strings(), ["hi"])
        self.talk = None
        self.assertEqual(self.history.get_strings(), ["ping", "/invite carol"])

    def test_a_line_once_where_others_were_said_in_between(self) -> None:
        self.type(None, "help")
        self.type("bob", "hello")
        self.type(None, "help")
        self.assertEqual(self.history.get_strings(), ["ping", "help"])
