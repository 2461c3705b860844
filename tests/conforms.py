"""Whether a client printed what a published conversation says: `tests/conformance`."""

from __future__ import annotations

from collections import Counter


def conforms(printed: str, expected: str) -> bool:
    """Whether `printed` is the lines of `expected`, in order; those behind `--`, which arrive on
    their own, may be anywhere among them."""
    in_order, _, on_their_own = expected.partition("--\n")
    wanted = Counter(on_their_own.splitlines())
    left, pushed = [], Counter[str]()
    for line in printed.splitlines():
        if pushed[line] < wanted[line]:
            pushed[line] += 1
        else:
            left.append(line)
    return pushed == wanted and left == in_order.splitlines()
