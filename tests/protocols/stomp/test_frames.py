"""Frames to bytes and back, in every version and every segmentation."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise

import stomper
import stomper.stompbuffer
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.stomp.broker import Subscriber
from bbs.protocols.stomp.frames import (
    VERSIONS,
    Frame,
    FrameCutter,
    FrameError,
    encode,
    encode_plain_send,
    writable,
)


def cut(pieces: Iterable[bytes], version: str = "1.2", max_frame: int = 1 << 20) -> list[Frame]:
    cutter = FrameCutter(version, max_frame)
    return [frame for piece in pieces for frame in cutter.feed(piece)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


STREAM = (
    b"\n\r\n"
    b"CONNECTED\nversion:1.2\n\n\0\n"
    b"\n"
    b"MESSAGE\r\ndestination:/topic/a\r\nx:a\\cb\\nc\\\\d\\re\r\ncontent-length:6\r\n\r\na\0b\0\n\n\0"
    b"MESSAGE\nx:1\nx:2\n\nuntil the NUL\0\n\n\n"
    b"ERROR\n\n\0"
    b"RECEIPT\nreceipt-id:\xc3\xbc \n\n\0\n"
)
FRAMES = [
    Frame("CONNECTED", {"version": "1.2"}),
    Frame(
        "MESSAGE",
        {"destination": "/topic/a", "x": "a:b\nc\\d\re", "content-length": "6"},
        b"a\0b\0\n\n",
    ),
    Frame("MESSAGE", {"x": "1"}, b"until the NUL"),
    Frame("ERROR"),
    Frame("RECEIPT", {"receipt-id": "ü "}),
]

# What each version can write: a header's line ends in the end, but never a NUL.
FORBIDDEN = {"1.0": "\0\r\n", "1.1": "\0\r", "1.2": "\0"}


def texts(version: str, also: str = "") -> st.SearchStrategy[str]:
    forbidden = FORBIDDEN[version] + also
    drawn = st.text(st.characters(exclude_characters=forbidden, codec="utf-8"), max_size=20)
    # 1.0 trims, and so cannot express outer spaces.
    return drawn.map(lambda text: text.strip(" ")) if version == "1.0" else drawn


def frames(version: str) -> st.SearchStrategy[Frame]:
    names = texts(version, ":" if version == "1.0" else "").filter(
        lambda name: name not in ("", "content-length")
    )
    return st.builds(
        Frame,
        st.sampled_from(["SEND", "MESSAGE", "ERROR", "SUBSCRIBE"]),
        st.dictionaries(names, texts(version), max_size=5),
        st.binary(max_size=60),
    )


def segmented(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


FRAGMENTS = [
    b"SEND\n",
    b"\n\n",
    b"\n",
    b"\r\n",
    b"\0",
    b"\0\n",
    b"a:b\n",
    b":",
    b"\\",
    b"\\c",
    b"x",
]
FRAGMENTS += [
    b"content-length:2\n",
    b"content-length:",
    b"\xff",
    b"\xc3\xbc",
    b"xy\0",
    b"CONNECTED\n",
]

# Those of a MESSAGE frame that are not its sender's.
OWN_HEADERS = frozenset(
    ["destination", "content-length", "subscription", "message-id", "ack", "receipt", "transaction"]
)


class SegmentationTests(SynchronousTestCase):
    def test_whole(self) -> None:
        self.assertEqual(cut([STREAM]), FRAMES)

    def test_byte_by_byte(self) -> None:
        self.assertEqual(cut(bytewise(STREAM)), FRAMES)

    def test_every_two_cuts(self) -> None:
        """In two or three pieces, wherever they are cut; in the fast tests the second one at every
        fifth place behind the first."""
        for first in range(len(STREAM)):
            for second in range(first, len(STREAM), 1 if "BBS_TEST_EXAMPLES" in os.environ else 5):
                pieces = [STREAM[:first], STREAM[first:second], STREAM[second:]]
                self.assertEqual(cut(pieces), FRAMES, pieces)

    def test_every_size(self) -> None:
        for size in range(1, len(STREAM)):
            pieces = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
            self.assertEqual(cut(pieces), FRAMES, size)

    @given(st.data())
    def test_round_trip(self, data: st.DataObject) -> None:
        """Whatever frames, in whatever version and segments, with heart-beats between them."""
        version = data.draw(st.sampled_from(VERSIONS))
        sent = data.draw(st.lists(frames(version), max_size=5))
        beats = data.draw(st.sampled_from([b"", b"\n", b"\n\n", b"\r\n\n"]))
        stream = beats.join(encode(frame, version) for frame in sent)
        cuts = data.draw(st.lists(st.integers(0, 1 << 16), max_size=8))
        received = cut(segmented(stream, cuts), version)
        self.assertEqual([frame.command for frame in received], [f.command for f in sent])
        self.assertEqual([frame.body for frame in received], [f.body for f in sent])
        for frame, original in zip(received, sent, strict=True):
            expected = dict(original.headers)
            if original.body:
                expected["content-length"] = str(len(original.body))
            self.assertEqual(frame.headers, expected)

    @given(st.lists(st.sampled_from(FRAGMENTS), max_size=20), st.sampled_from(VERSIONS))
    def test_any_bytes(self, pieces: list[bytes], version: str) -> None:
        """Bytes of no sense make frames or FrameError, whatever they are; the segments they come in
        make no difference."""
        outcomes = []
        for segments in (pieces, [b"".join(pieces)], bytewise(b"".join(pieces))):
            got: list[Frame] = []
            cutter = FrameCutter(version, 20)
            try:
                for piece in segments:
                    got += cutter.feed(piece)
            except FrameError:
                got.append(Frame("broken"))
            outcomes.append(got)
        self.assertEqual(outcomes[0], outcomes[2])
        self.assertEqual(outcomes[0], outcomes[1])

    def test_headers_of_the_most_bytes(self) -> None:
        """They are not too many while the blank line that ends them is still to come."""
        head = b"SEND\ndestination:/a"
        for end in (b"\n\n", b"\n\r\n"):
            for length, count in ((len(head), 1), (len(head) - 1, 0)):
                for segments in ([head + end + b"\0"], bytewise(head + end + b"\0")):
                    got: list[Frame] = []
                    cutter = FrameCutter("1.2", length)
                    with contextlib.suppress(FrameError):
                        for piece in segments:
                            got += cutter.feed(piece)
                    self.assertEqual(len(got), count, (end, length, segments))

    def test_version_changes_between_frames(self) -> None:
        """A handshake and what follows it may share a segment: the second frame is cut only after
        the first was looked at."""
        cutter = FrameCutter("1.0")
        frames = cutter.feed(b"CONNECTED\nversion:1.2\n\n\0\nMESSAGE\nx:\\c\n\n\0")
        self.assertEqual(next(frames).command, "CONNECTED")
        cutter.version = "1.2"
        self.assertEqual(next(frames).headers, {"x": ":"})

    def test_fed_at_once(self) -> None:
        """What is fed is taken in even when nobody looks at the frames yet."""
        cutter = FrameCutter("1.2")
        cutter.feed(b"ERROR\n")
        self.assertEqual(list(cutter.feed(b"\n\0")), [Frame("ERROR")])

    def test_nothing_is_held(self) -> None:
        """Frames that are whole leave nothing behind, whatever size of segment they came in; of
        others no more than what came of them is held."""
        for segment in (STREAM * 300, STREAM * 300 + b"SEND\n\nx" + b"y" * 100):
            cutter = FrameCutter("1.2")
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                # A segment of the cutter's own, as transports give.
                for _ in cutter.feed(bytes(bytearray(segment))):
                    cutter.version = "1.2"
                held = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
            self.assertLess(held, 20_000)


class ReadingTests(SynchronousTestCase):
    def headers(self, line: bytes, version: str, command: bytes = b"MESSAGE") -> object:
        [frame] = cut([command + b"\n" + line + b"\n\n\0"], version)
        return frame.headers

    def broken(self, data: bytes, version: str = "1.2", max_frame: int = 1 << 20) -> str:
        with self.assertRaises(FrameError) as caught:
            cut(bytewise(data), version, max_frame)
        with self.assertRaises(FrameError):
            cut([data], version, max_frame)
        return str(caught.exception)

    def test_escapes(self) -> None:
        line = rb"a\cb:\\\n\c:"
        self.assertEqual(self.headers(line, "1.2"), {"a:b": "\\\n::"})
        self.assertEqual(self.headers(line, "1.1"), {"a:b": "\\\n::"})
        self.assertEqual(self.headers(line, "1.0"), {r"a\cb": r"\\\n\c:"})

    def test_carriage_return(self) -> None:
        self.assertEqual(self.headers(rb"a:\r", "1.2"), {"a": "\r"})
        self.assertEqual(self.headers(rb"a:\r", "1.0"), {"a": r"\r"})
        self.assertIn("no such escape", self.broken(b"MESSAGE\na:\\r\n\n\0", "1.1"))

    def test_escapes_in_turn(self) -> None:
        """A backslash that was escaped does not escape what follows it."""
        self.assertEqual(self.headers(rb"a:\\n\\\c", "1.2"), {"a": "\\n\\:"})

    def test_unknown_escapes(self) -> None:
        for value in (rb"\t", b"\\", rb"\x", rb"a\\\ "):
            for version in ("1.1", "1.2"):
                self.broken(b"MESSAGE\na:" + value + b"\n\n\0", version)

    def test_handshake_is_not_escaped(self) -> None:
        for command in (b"CONNECT", b"STOMP", b"CONNECTED"):
            self.assertEqual(
                self.headers(rb"passcode:a\b\c", "1.2", command), {"passcode": r"a\b\c"}
            )

    def test_first_of_repeated_headers(self) -> None:
        self.assertEqual(self.headers(b"a:1\na:2\nb:3\na:4", "1.2"), {"a": "1", "b": "3"})

    def test_first_content_length(self) -> None:
        data = b"MESSAGE\ncontent-length:2\ncontent-length:9\n\n\0\0\0"
        self.assertEqual([frame.body for frame in cut([data])], [b"\0\0"])

    def test_spaces(self) -> None:
        """1.0 trims, as its examples are spaced; later versions must not."""
        self.assertEqual(self.headers(b" a : b ", "1.0"), {"a": "b"})
        self.assertEqual(self.headers(b" a : b ", "1.1"), {" a ": " b "})
        self.assertEqual(self.headers(b" a : b ", "1.2"), {" a ": " b "})

    def test_carriage_returns_end_lines(self) -> None:
        for version in VERSIONS:
            for body in (b"body\r\n", b"one\n\ntwo"):
                [frame] = cut([b"SEND\r\na:b\r\n\r\n" + body + b"\0"], version)
                self.assertEqual(frame, Frame("SEND", {"a": "b"}, body))

    def test_empty_value(self) -> None:
        self.assertEqual(self.headers(b"a:", "1.2"), {"a": ""})

    def test_content_length_counts_bytes(self) -> None:
        body = "grüße\0世界".encode()
        data = b"MESSAGE\ncontent-length:%d\n\n%b\0" % (len(body), body)
        self.assertEqual([frame.body for frame in cut(bytewise(data))], [body])

    def test_content_length_of_nothing(self) -> None:
        [first, second] = cut([b"SEND\ncontent-length:0\n\n\0ERROR\n\n\0"])
        self.assertEqual((first.body, second.command), (b"", "ERROR"))

    def test_content_length_too_short(self) -> None:
        self.assertIn("no NUL", self.broken(b"SEND\ncontent-length:2\n\nabc\0"))

    def test_content_length_that_is_none(self) -> None:
        for value in (b"-1", b"", b"x", b"1.0", b"+1", b" 1", b"9" * 11, "²".encode()):
            self.broken(b"SEND\ncontent-length:" + value + b"\n\nx\0")

    def test_no_frame(self) -> None:
        self.assertIn("no such command", self.broken(b"GET / HTTP/1.1\nHost: x\n\n"))
        self.assertIn("no such command", self.broken(b"send\n\n\0"))
        self.assertIn("no header", self.broken(b"SEND\nabc\n\n\0"))
        self.assertIn("without a name", self.broken(b"SEND\n:abc\n\n\0"))
        self.assertIn("UTF-8", self.broken(b"SEND\na:\xff\n\n\0"))
        for rest in (b"\n\0", b"\0c\n\n\0"):
            self.assertIn("within its headers", self.broken(b"SEND\na:b" + rest))

    def test_headers_too_large(self) -> None:
        self.assertIn("headers of more", self.broken(b"SEND\na:" + b"x" * 30, max_frame=30))
        self.assertIn(
            "headers of more", self.broken(b"SEND\na:" + b"x" * 30 + b"\n\n\0", max_frame=30)
        )
        self.assertEqual(len(cut([b"SEND\na:" + b"x" * 23 + b"\n\n\0"], max_frame=30)), 1)

    def test_body_too_large(self) -> None:
        for size in (31, 1000):
            head = b"SEND\ncontent-length:%d\n\n" % size
            self.assertIn("a body of more", self.broken(head, max_frame=30))
            self.assertIn("a body of more", self.broken(b"SEND\n\n" + b"x" * size, max_frame=30))
            self.assertIn(
                "a body of more", self.broken(b"SEND\n\n" + b"x" * size + b"\0", max_frame=30)
            )
        self.assertEqual(
            len(cut([b"SEND\ncontent-length:30\n\n" + b"x" * 30 + b"\0"], max_frame=30)), 1
        )
        self.assertEqual(len(cut([b"SEND\n\n" + b"x" * 30 + b"\0"], max_frame=30)), 1)


class WritingTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        frame = Frame("SEND", {"destination": "/topic/a", "b": "x:\n\\\r"}, b"a\0")
        self.assertEqual(
            encode(frame),
            b"SEND\nb:x\\c\\n\\\\\\r\ncontent-length:2\ndestination:/topic/a\n\na\0\0\n",
        )

    def test_content_length(self) -> None:
        """It is said when there is a body, and when the frame says so; and it is always right."""
        self.assertNotIn(b"content-length", encode(Frame("SEND")))
        self.assertIn(b"content-length:0\n", encode(Frame("SEND", {"content-length": "7"})))
        self.assertIn(b"content-length:2\n", encode(Frame("SEND", {"content-length": "7"}, b"ab")))

    def test_handshake(self) -> None:
        """The handshake is the same in each version."""
        for version in VERSIONS:
            data = encode(Frame("CONNECT", {"passcode": "a:\\"}), version)
            self.assertEqual(data, b"CONNECT\npasscode:a:\\\n\n\0\n")
            with self.assertRaises(FrameError):
                encode(Frame("CONNECT", {"passcode": "a\nb"}), version)

    @given(st.from_regex(r"/topic/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?", fullmatch=True), st.binary())
    def test_plain_send(self, destination: str, body: bytes) -> None:
        """It is what is written for any frame, in every version."""
        headers = {"destination": destination, "content-length": ""}
        for version in VERSIONS:
            expected = encode(Frame("SEND", headers, body), version)
            self.assertEqual(encode_plain_send(destination, body), expected)

    @given(st.data())
    def test_message(self, data: st.DataObject) -> None:
        """What a subscriber gets is what is written for any frame, with the headers of the sender's
        own or without, whatever its subscription is called."""
        version = data.draw(st.sampled_from(VERSIONS))
        ident, acknowledges = data.draw(texts(version)), data.draw(st.booleans())
        own = {"destination": "/topic/a", "content-length": "7", "receipt": "r"}
        names = texts(version, ":").filter(lambda name: name not in OWN_HEADERS)
        users = data.draw(st.dictionaries(names, texts(version), max_size=2))
        body = data.draw(st.binary(max_size=60))
        subscriber = Subscriber(
            lambda *args: None, ident, "/topic/a", acknowledges=acknowledges, version=version
        )
        headers = {"destination": "/topic/a", "message-id": "12", "subscription": ident}
        headers["content-length"] = ""
        if acknowledges and version == "1.2":
            headers["ack"] = "12"
        expected = encode(Frame("MESSAGE", {**users, **headers}, body), version)
        self.assertEqual(subscriber.message(12, {**own, **users}, body), expected)

    def test_what_cannot_be_written(self) -> None:
        for version, characters in FORBIDDEN.items():
            for character in characters:
                with self.assertRaises(FrameError):
                    encode(Frame("SEND", {"a": character}), version)
                with self.assertRaises(FrameError):
                    encode(Frame("SEND", {character: "a"}), version)
        with self.assertRaises(FrameError):
            encode(Frame("SEND", {"a:b": ""}), "1.0")
        self.assertIn(b"\na:b:c\n", encode(Frame("SEND", {"a": "b:c"}), "1.0"))
        with self.assertRaises(FrameError):
            encode(Frame("FETCH"))

    def test_writable(self) -> None:
        headers = {"a": "1", "b:b": "2", "c": "\n", "d\r": "4", "e": "\r", "f": ":"}
        self.assertEqual(list(writable(headers, "1.2")), list(headers))
        self.assertEqual(list(writable(headers, "1.1")), ["a", "b:b", "c", "f"])
        self.assertEqual(list(writable(headers, "1.0")), ["a", "f"])
        for version in VERSIONS:
            encode(Frame("SEND", writable(headers, version)), version)


class StomperTests(SynchronousTestCase):
    """What `stomper` does, which is why this module relies on it, or does not."""

    def test_relied_on(self) -> None:
        frame = stomper.Frame()
        frame.cmd = "SEND"
        frame.headers = {"b": "1", "a": "2"}
        self.assertEqual(frame.pack(), "SEND\na:2\nb:1\n\n\0\n")

    def test_not_relied_on(self) -> None:
        text = "MESSAGE\na:1\na:2\nb: \\c \n\n one \n\n two \0\n"
        read = stomper.unpack_frame(text)
        self.assertEqual(read["headers"], {"a": "2", "b": "\\c"})
        self.assertEqual(read["body"], "onetwo ")
        buffer = stomper.stompbuffer.StompBuffer()
        buffer.appendData("\n" + text)
        self.assertNotEqual(buffer.getOneMessage()["cmd"], "MESSAGE")
        self.assertIsNone(buffer.getOneMessage())
