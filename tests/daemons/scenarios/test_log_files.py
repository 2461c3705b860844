"""Log files that are kept to a size, and are made anew where somebody has moved them away."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.logger import ILogObserver
from twisted.trial.unittest import SynchronousTestCase

from bbs.daemons.logs import KeptFile, SharedFile, survive_hangups, twistd_observer


class LogCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "x.log"

    def there(self) -> dict[str, str]:
        """What the folder has: names, and what is in the files."""
        return {path.name: path.read_text() for path in self.folder.iterdir()}


class Kept(LogCase):
    def kept(self, length: int = 1000, keep: int | None = 2, **options: Any) -> KeptFile:
        file = KeptFile(str(self.path), length, keep, **options)
        self.addCleanup(file.close)
        return file

    def test_goes_on_in_what_is_there(self) -> None:
        self.path.write_text("before\n")
        self.kept().write("after\n")
        self.assertEqual(self.there(), {"x.log": "before\nafter\n"})

    def test_another_is_begun_when_it_is_long(self) -> None:
        file = self.kept(10)
        for line in ("1234567890\n", "2\n", "234567890\n", "3\n", "34567890\n", "4\n"):
            file.write(line)
        self.assertEqual(
            self.there(),
            {"x.log": "4\n", "x.log.1": "3\n34567890\n", "x.log.2": "2\n234567890\n"},
        )

    def test_what_others_write_counts(self) -> None:
        file = self.kept(10)
        with self.path.open("a") as other:
            other.write("by another\n")
        file.write("1\n")
        self.assertEqual(self.there(), {"x.log": "1\n", "x.log.1": "by another\n"})

    def test_moved_away(self) -> None:
        """It is made anew, for its owner alone, with the next line or when that is asked for."""
        self.addCleanup(os.umask, os.umask(0))
        file = self.kept()
        file.write("1\n")
        self.path.rename(self.folder / "moved")
        file.write("2\n")
        self.assertEqual(self.there(), {"moved": "1\n", "x.log": "2\n"})
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.path.unlink()
        file.reopen()
        self.assertEqual(self.there(), {"moved": "1\n", "x.log": ""})

    def test_nowhere_to_make_it(self) -> None:
        """Then what there was goes on; a folder that comes back is found."""
        file = self.kept()
        moved = self.folder.rename(f"{self.folder}-moved")
        file.reopen()
        file.write("1\n")
        self.assertEqual((moved / "x.log").read_text(), "1\n")
        self.folder.mkdir()
        file.write("2\n")
        self.assertEqual(self.there(), {"x.log": "2\n"})

    def test_a_mode_that_somebody_chose_stays(self) -> None:
        self.path.touch(0o640)
        self.path.chmod(0o640)
        self.kept()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_what_is_no_text(self) -> None:
        self.kept().write("\ud800\n")
        self.assertEqual(self.there(), {"x.log": "\\ud800\n"})

    def test_other_descriptors_follow(self) -> None:
        """So what an interpreter says as it crashes is where its log is."""
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        file = self.kept(2, also=(writer,))
        file.write("1\n")
        file.write("2\n")
        os.write(writer, b"crash\n")
        self.assertEqual(self.there(), {"x.log": "2\ncrash\n", "x.log.1": "1\n"})

    def test_a_link_leads_where_it_leads(self) -> None:
        elsewhere = self.folder / "elsewhere"
        self.path.symlink_to(elsewhere)
        self.kept().write("1\n")
        self.assertEqual(elsewhere.read_text(), "1\n")


class Shared(LogCase):
    def test_two_that_begin_new_ones(self) -> None:
        """Neither loses a line of the other's, nor begins one too many."""
        files = [SharedFile(str(self.path), 10, 9) for _ in "ab"]
        for number in range(20):
            files[number % 2].append(b"%d\n" % number)
        there = self.there()
        whole = "".join(there[name] for name in sorted(there, key=age))
        self.assertEqual(whole.split(), [*map(str, range(20))])
        del there["x.log"]
        self.assertTrue(all(len(text) >= 10 for text in there.values()), there)

    def test_many_processes(self) -> None:
        """All at the same time: no line is lost, or cut, and no file is begun too soon."""
        program = (
            "import sys; from bbs.daemons.logs import SharedFile\n"
            f"file = SharedFile({str(self.path)!r}, 200, 10_000)\n"
            "print(flush=True); sys.stdin.read()\n"
            "for number in range(500): file.append(f'{sys.argv[1]} {number}\\n'.encode())"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(each)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for each in range(3)
        ]
        for process in processes:
            assert process.stdout
            process.stdout.readline()
        for process in processes:
            assert process.stdin
            process.stdin.close()
        self.assertEqual([process.wait(60) for process in processes], [0, 0, 0])
        for process in processes:
            assert process.stdout
            process.stdout.close()
        lines = [line for text in self.there().values() for line in text.splitlines()]
        self.assertEqual(
            sorted(lines), sorted(f"{each} {number}" for each in range(3) for number in range(500))
        )
        for name, text in self.there().items():
            self.assertTrue(name == "x.log" or 200 <= len(text) < 210, (name, len(text)))

    def test_all_or_nothing(self) -> None:
        """Half a line would be the beginning of somebody else's."""
        file = SharedFile(str(self.path), 1000, 2)
        file.append(b"1\n")
        write = os.write
        written: list[bytes] = []

        def full(descriptor: int, data: Any) -> int:
            if written:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(data)
            return write(descriptor, bytes(data[:3]))

        self.patch(os, "write", full)
        error = self.assertRaises(OSError, file.append, b"what=login\n")
        self.assertEqual(error.errno, errno.ENOSPC)
        self.patch(os, "write", write)
        file.append(b"2\n")
        self.assertEqual(self.there(), {"x.log": "1\n2\n"})

    def test_nowhere_to_write(self) -> None:
        """What would be in no file is not taken for written."""
        file = SharedFile(str(self.path), 1000, 2)
        self.path.unlink()
        self.folder.rmdir()
        self.assertRaises(OSError, file.append, b"1\n")


def age(name: str) -> int:
    """How long ago a file was begun: the oldest first."""
    return -int(name.rpartition(".")[2]) if name != "x.log" else 0


class Twistd(LogCase):
    def setUp(self) -> None:
        super().setUp()
        for heard in (signal.SIGUSR1, signal.SIGHUP):
            self.addCleanup(signal.signal, heard, signal.getsignal(heard))

    def observer(self, **options: Any) -> ILogObserver | None:
        return twistd_observer({"logfile": None, "syslog": False, "nodaemon": True, **options})

    def test_what_is_twistds_own(self) -> None:
        """The system's log, and to say that a daemon has no standard output."""
        self.assertIsNone(self.observer(logfile=str(self.path), syslog=True))
        self.assertIsNone(self.observer(logfile="-", nodaemon=False))
        self.assertEqual(self.there(), {})

    def test_standard_output(self) -> None:
        for logfile in (None, "-"):
            out = io.StringIO()
            self.patch(sys, "stdout", out)
            observer = twistd_observer(
                {"logfile": logfile, "syslog": False, "nodaemon": True},
                lambda event: f"a line of {event['log_format']}\n",
            )
            assert observer is not None
            observer({"log_format": "hello"})
            self.assertEqual(out.getvalue(), "a line of hello\n")
        self.assertEqual(self.there(), {})

    def test_a_file(self) -> None:
        observer = self.observer(logfile=str(self.path))
        assert observer is not None
        observer({"log_format": "hello", "log_time": 0.0})
        self.assertIn("hello", self.path.read_text())
        self.path.unlink()
        survive_hangups()
        reactor = SimpleNamespace(callFromThread=lambda call: call())
        with mock.patch.dict(sys.modules, {"twisted.internet.reactor": reactor}):
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.there(), {"x.log": ""})
        self.assertTrue(callable(signal.getsignal(signal.SIGUSR1)))

    def test_the_usual_file_of_a_daemon(self) -> None:
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        self.observer(nodaemon=False)
        self.assertEqual(list(self.there()), ["twistd.log"])
