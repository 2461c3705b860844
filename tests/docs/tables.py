"""Tables of a page that are made of declarations: they stand between marks, and the text around
them is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_tables(written: str, tables: Mapping[str, str], program: str) -> str:
    """The page with new tables, by their names, which `program` makes.

    :raises ValueError: the page lacks the marks of one of them.
    """
    for name, made in tables.items():
        begin, end = f"<!-- {name}: {program} -->\n", f"<!-- end of {name} -->"
        before, _, rest = written.partition(begin)
        _, _, after = rest.partition(end)
        if not after:
            raise ValueError(f"the page lacks {begin}")
        written = "".join((before, begin, made, end, after))
    return written
