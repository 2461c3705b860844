"""What may be typed or pasted, and what of it is too much.

A server takes lines of 64 KiB (`limits.max_line`), in which a token and two names stand beside the
text. Somebody may paste several lines at once; they are shown, and sent one after the other when
Enter is pressed, as a shell does. More than one line may hold is refused as a whole: half of a
text is nothing that anybody wants to have sent.
"""

from __future__ import annotations

MOST = 64 * 1024 - 1024
"""Bytes that may be typed before Enter: a line of the server's less the command, token and names,
of which each has at most 100 characters."""


def size(text: str) -> int:
    """Bytes of `text` on the wire."""
    return len(text.encode("utf-8", "surrogatepass"))


def pasted(text: str) -> str:
    """`text` from a terminal's clipboard with its line ends as LF, and without those at its end.

    Whoever copies a whole line copies its end too, and means the line.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def too_much(text: str) -> str:
    """Why `text` cannot be typed at once, in words; empty when it can."""
    found = size(text)
    if found <= MOST:
        return ""
    return f"That is {found:,} bytes; at most {MOST:,} go at once. Nothing was sent."
