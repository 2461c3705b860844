"""A colour for each name, the same one every day, that reads on dark and on light.

Every colour here is in xterm's cube of 216, so that a terminal of 256 colours shows just that, and
has a contrast (WCAG 2.2, 1.4.3) of at least 4.2 with black and with white: no colour reaches more
than 4.58 with both. Names are bold besides. Terminals of 16 colours get the nearest of theirs.
"""

from __future__ import annotations

from zlib import crc32

PALETTE = (
    "#af5f5f",
    "#af5f00",
    "#5f8700",
    "#008700",
    "#00875f",
    "#008787",
    "#5f5fff",
    "#875fd7",
    "#d700d7",
    "#d70087",
    "#af5f87",
)


def style_of(name: str) -> str:
    """prompt_toolkit's style for a name."""
    return f"bold {PALETTE[crc32(name.encode('utf-8', 'replace')) % len(PALETTE)]}"
