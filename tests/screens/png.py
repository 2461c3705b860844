"""Makes a browser's screenshot small: a picture of text has few colours, and PNG has a form for it
(RFC 2083: colour type 3, a palette). Done here, as a library for it would be used for nothing else.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 256
SHADE = 150
"""The square of the distance between two colours that are kept apart."""


def small(png: bytes) -> bytes:
    """The same picture of at most 256 colours; others become the nearest of those."""
    width, height, rows = _decoded(png)
    pixels = [[row[at : at + 3] for at in range(0, 3 * width, 3)] for row in rows]
    palette: list[bytes] = []
    for colour, _ in Counter(pixel for row in pixels for pixel in row).most_common():
        # Shades of one colour must not leave another, rarer one without a place.
        if len(palette) < COLOURS and all(_distance(colour, each) > SHADE for each in palette):
            palette.append(colour)

    @cache
    def nearest(pixel: bytes) -> int:
        return min((_distance(pixel, colour), at) for at, colour in enumerate(palette))[1]

    lines = b"".join(b"\0" + bytes(map(nearest, row)) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", b"".join(palette)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _distance(one: bytes, other: bytes) -> int:
    return sum((here - there) ** 2 for here, there in zip(one, other, strict=True))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        yield kind, png[at + 8 : at + 8 + length]
        at += length + 12


def _decoded(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height, and rows of red, green and blue, of a picture without transparency."""
    chunks = [*_chunks(png)]
    width, height, depth, kind = struct.unpack_from(">IIBB", chunks[0][1])
    if (depth, kind) != (8, 2):
        raise ValueError(f"colour type {kind} of {depth} bits is no browser's screenshot")
    raw = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    rows: list[bytes] = []
    above = bytes(3 * width)
    for start in range(0, len(raw), 3 * width + 1):
        above = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 3 * width + 1]), above)
        rows.append(above)
    return width, height, rows


def _unfiltered(how: int, line: bytearray, above: bytes) -> bytes:
    """A row without its filter (RFC 2083, section 6)."""
    for at in range(len(line)) if how else ():
        left, corner = (line[at - 3], above[at - 3]) if at >= 3 else (0, 0)
        up = above[at]
        guess = (left, up, (left + up) // 2, _paeth(left, up, corner))[how - 1]
        line[at] = (line[at] + guess) & 255
    return bytes(line)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))
