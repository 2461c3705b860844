"""Lines of the input, from whatever it is."""

from __future__ import annotations

import os
import tempfile

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.ui.stdin import MAX_LINE, InputError, Lines, reader


class LinesTests(SynchronousTestCase):
    def lines(self, *pieces: bytes) -> Lines:
        self.pieces = [*pieces, b""]
        return Lines(lambda: succeed(self.pieces.pop(0)))

    def next(self, lines: Lines) -> str | None:
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
        lines = Lines(lambda: fail(IsADirectoryError(21, "Is a directory")))
        problem = self.failureResultOf(Deferred.fromCoroutine(lines.next()), InputError)
        self.assertEqual(str(problem.value), "standard input: Is a directory")


class ReaderTests(TestCase):
    """On the real reactor, as descriptors are the point."""

    async def contents(self, descriptor: int) -> bytes:
        from twisted.internet import reactor

        read, data = reader(IReactorFromThreads(reactor), descriptor), b""
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
