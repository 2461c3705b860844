"""Inputs that are nearly right: what a grammar gives, broken in one place or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

PIECES: Sequence[bytes] = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b" ",
    b"  ",
    b":",
    b"\\",
    b"\\c",
    b"\\x",
    b'"',
    b"{",
    b"}",
    b"\x7f",
    b"\x1b[A",
    b"\x1b[200~",
    b"\x1b]0;title\x07",
    b"\x9b31m",
    b"\x03",
    b"\x15",
    b"\x17",
    b"\t",
    b"\xff",
    b"\xff\xff",
    b"\xff\xf4",
    b"\xff\xf6",
    b"\xff\xfb\x01",
    b"\xff\xfd\x1f",
    b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0",
    b"\xff\xfa\x1f\xff\xff\xff\xff\xff\xff\xff\xf0",
    b"\xff\xfa\x2a\x01 UTF-8",
    b"\xc3",
    b"\xe2\x80",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    "é".encode(),
    "e\u0301".encode(),
    "\u202e".encode(),
    "\u200b".encode(),
    "\u2028".encode(),
    "\ufeff".encode(),
    "😀".encode(),
    "한".encode("utf-16"),
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"99999999999999999999",
    b"9223372036854775808",
    b"%n%s%x",
    b"' OR 1=1 --",
    b"../../etc/passwd",
    b"a" * 101,
    b"[" * 3000,
)
"""What programs have stumbled on before."""


def _flip(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _drop(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + data[at + random.choice((1, 1, 2, 8)) :]


def _double(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[: at + random.choice((1, 4, 16))] + data[at:]


def _insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(PIECES) + data[at:]


def _noise(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 3, 20))) + data[at:]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


_WAYS: Sequence[Callable[[Random, bytes], bytes]] = (_flip, _drop, _double, _insert, _noise, _cut)

_HOW_OFTEN = (0, 1, 1, 1, 2, 2, 4)


def mutated(random: Random, data: bytes) -> bytes:
    """`data`, broken so often as chance has it; sometimes not at all."""
    for _ in range(random.choice(_HOW_OFTEN)):
        if data:
            data = random.choice(_WAYS)(random, data)
    return data


def cut_up(random: Random, data: bytes) -> list[bytes]:
    """`data` in pieces, as a network might bring it."""
    pieces, at = [], 0
    while at < len(data):
        size = random.choice((1, 2, 7, 60, 500, 2000))
        pieces.append(data[at : at + size])
        at += size
    return pieces
