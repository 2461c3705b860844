"""Standard input in lines, and the files that the client keeps."""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.cli import client
from bbs.ui import process
from bbs.ui.process import (
    MAX_LINE,
    InputError,
    LastServer,
    LineReader,
    start_reader,
)
from tests.cli.case import BOARD


class LinesTests(SynchronousTestCase):
    def lines(self, *pieces: bytes) -> LineReader:
        self.pieces = [*pieces, b""]
        return LineReader(lambda: succeed(self.pieces.pop(0)))

    def next(self, lines: LineReader) -> str | None:
        return self.successResultOf(Deferred.fromCoroutine(lines.next()))

    def test_cuts_at_line_ends(self) -> None:
        lines = self.lines(b"one\ntw", b"o\r\n\nthr", b"e", b"e\n")
        self.assertEqual([self.next(lines) for _ in range(5)], ["one", "two", "", "three", None])

    def test_the_last_may_lack_its_end(self) -> None:
        lines = self.lines(b"one\n", b"two")
        self.assertEqual([self.next(lines) for _ in range(2)], ["one", "two"])
        self.pieces.append(b"")
        self.assertIsNone(self.next(lines))

    def test_reads_no_further_than_it_must(self) -> None:
        lines = self.lines(b"one\ntwo\nthr", b"ee\n")
        self.next(lines)
        self.next(lines)
        self.assertEqual(len(self.pieces), 2)

    def test_spaces_stay(self) -> None:
        self.assertEqual(self.next(self.lines(b"  a  b \n")), "  a  b ")

    def test_bytes_that_are_not_utf8_can_be_had_again(self) -> None:
        line = self.next(self.lines(b"\xe9 \xc3\xa9\n"))
        assert line is not None
        self.assertEqual(line.encode("utf-8", "surrogateescape"), b"\xe9 \xc3\xa9")

    def test_a_character_cut_in_two(self) -> None:
        self.assertEqual(self.next(self.lines(b"\xc3", b"\xa9\n")), "é")

    def test_memory_is_bounded(self) -> None:
        most = b"x" * MAX_LINE
        self.assertEqual(len(self.next(self.lines(most)) or ""), MAX_LINE)
        lines = self.lines(most, b"x", b"x")
        self.failureResultOf(Deferred.fromCoroutine(lines.next()), InputError)
        self.assertEqual(len(self.pieces), 2)

    def test_what_cannot_be_read(self) -> None:
        lines = LineReader(lambda: fail(IsADirectoryError(21, "Is a directory")))
        problem = self.failureResultOf(Deferred.fromCoroutine(lines.next()), InputError)
        self.assertEqual(str(problem.value), "standard input: Is a directory")


class ReaderTests(TestCase):
    """On the real reactor, as descriptors are the point."""

    async def contents(self, descriptor: int) -> bytes:
        from twisted.internet import reactor

        read, data = start_reader(IReactorFromThreads(reactor), descriptor), b""
        while piece := await read():
            data += piece
        return data

    async def test_a_pipe(self) -> None:
        end, start = os.pipe()
        self.addCleanup(os.close, end)
        os.write(start, b"one\n")
        os.close(start)
        self.assertEqual(await self.contents(end), b"one\n")

    async def test_a_file(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * 200_000)
            file.seek(0)
            self.assertEqual(await self.contents(file.fileno()), b"x" * 200_000)

    async def test_nothing(self) -> None:
        with open(os.devnull, "rb") as file:
            self.assertEqual(await self.contents(file.fileno()), b"")

    async def test_what_cannot_be_read(self) -> None:
        with self.assertRaises(OSError):
            await self.contents(os.open("/", os.O_RDONLY))


KEPT = LastServer("bbs.example.org", 4000, True, "/etc/ca.pem")


class LastTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "bbs" / "last-host"

    def test_kept_and_read(self) -> None:
        self.assertEqual(process.read_last_server(self.path), LastServer("127.0.0.1", 22222))
        for service in (KEPT, LastServer("::1"), LastServer("::1")):
            process.save_last_server(self.path, service)
            self.assertEqual(process.read_last_server(self.path), service)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["last-host"])

    def test_what_is_no_use(self) -> None:
        self.path.parent.mkdir(parents=True)
        for text in (
            *("", "{", "[1]", "{}", "[" * 100_000, "\x00"),
            *('{"host": 1, "port": 2}', '{"host": "a", "port": 99999, "tls": true, "ca": ""}'),
            *('{"host": "a", "port": 1}', '{"host": "a", "port": 1, "tls": 1, "ca": ""}'),
        ):
            self.path.write_text(text)
            self.assertEqual(process.read_last_server(self.path), LastServer())
        self.path.unlink()
        self.path.mkdir()
        process.save_last_server(self.path, KEPT)
        self.assertEqual(process.read_last_server(self.path), LastServer())

    def test_device_tokens(self) -> None:
        def kept(server: str = "a:1") -> process.DeviceTokens:
            return process.DeviceTokens(self.path, server)

        def keep(server: str, name: str, token: str) -> None:
            tokens = kept(server)
            tokens[name] = token
            tokens.wait(10.0)

        self.assertEqual(kept(), {})
        keep("a:1", "ann", "1-x-y")
        keep("b:1", "ann", "2-x-y")
        keep("a:1", "änn\udcff", "3-x-y")
        keep("a:1", "ann", "4-x-y")
        self.assertEqual(kept(), {"ann": "4-x-y", "änn\udcff": "3-x-y"})
        self.assertEqual(kept("b:1"), {"ann": "2-x-y"})
        self.assertEqual([kept(each).last_name for each in ("a:1", "c:1")], ["ann", ""])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], [self.path.name])
        for number in range(process.MOST_ENTRIES):
            keep("c:1", str(number), "5-x-y")
        self.assertEqual(kept(), {})

    def test_a_file_is_as_large_as_is_read(self) -> None:
        entries = process.PrivateEntries(self.path, 1)
        for number in range(60):
            self.assertTrue(entries.put(f"{number}:1", "\U0001f600" * 100, "t" * 64))
        kept = [server for server, _, _ in entries.read()]
        self.assertEqual(kept[-1], "59:1")
        self.assertGreater(len(kept), 40)

    def test_a_private_file(self) -> None:
        """Neither one that lies there nor a link changes who can read it, or what is written."""
        self.path.parent.mkdir(parents=True)
        for made in ("bait", f"{self.path.name}.{os.getpid()}"):
            other = self.path.with_name(made)
            other.write_text("precious")
            other.chmod(0o644)
        self.path.symlink_to(self.path.with_name("bait"))
        self.assertTrue(process.write_private(self.path, "secret"))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.with_name("bait").read_text(), "precious")
        self.assertEqual(other.read_text(), "precious")

    def test_the_way_to_a_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as ours:
            port = ours.getsockname()[1]
            for host, tls, is_secure in (
                *(("127.0.0.1", False, True), ("::1", False, True), ("localhost", False, True)),
                *(("10.0.0.1", False, False), ("bbs.example.org", False, False)),
                ("bbs.example.org", True, True),
            ):
                self.assertEqual(LastServer(host, port, tls).is_secure, is_secure, host)
        # Whoever comes next may listen there.
        self.assertFalse(LastServer("127.0.0.1", port).is_secure)
        self.assertTrue(LastServer("127.0.0.1", port, tls=True).is_secure)

    def test_device_tokens_that_are_no_use(self) -> None:
        self.path.parent.mkdir(parents=True)
        for text in (
            *("", "{", "1", "{}", "[" * 100_000, "\x00", "[1]", '[["a:1", "ann"]]'),
            *('[["a:1", "ann", 1]]', '[["a:1", "ann", "a b"]]', '[["a:1", "ann", "x\\nlogin"]]'),
        ):
            self.path.write_text(text)
            self.assertEqual(process.DeviceTokens(self.path, "a:1"), {})
        self.path.unlink()
        self.path.mkdir()
        tokens = process.DeviceTokens(self.path, "a:1")
        tokens["ann"] = "1-x-y"
        tokens.wait(10.0)
        self.assertEqual(tokens["ann"], "1-x-y")

    def test_the_state_folder(self) -> None:
        for environ, folder in (
            ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/bbs"),
            ({"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/bbs"),
            ({"HOME": "/h"}, "/h/.local/state/bbs"),
        ):
            self.assertEqual(process.state_file(environ, "last-host"), Path(folder) / "last-host")

    def test_the_service_that_is_meant(self) -> None:
        process.save_last_server(self.path, KEPT)
        for line, meant in (
            ("", KEPT),
            ("--tls", KEPT),
            ("--tls --ca /x", LastServer("bbs.example.org", 4000, True, "/x")),
            ("localhost", LastServer("localhost", 22222)),
            ("[::1] 7", LastServer("::1", 7)),
            ("localhost:7", LastServer("localhost", 7)),
            ("[::1]:7", LastServer("::1", 7)),
            ("::1", LastServer("::1", 22222)),
            ("--tls localhost", LastServer("localhost", 22222, True)),
        ):
            options: argparse.Namespace = client.parser(BOARD).parse_args(line.split())
            self.assertEqual(client.choose_service(options, self.path), meant)
