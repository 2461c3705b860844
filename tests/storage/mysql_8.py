"""What MySQL 8 refuses of what MariaDB takes, as far as a text shows it.

No MySQL 8 can be had where the tests run. docs/decisions/0003-one-schema-two-databases.md says what
stands in for one. This part looks at statements. It knows the documentation of MySQL 8.0 and 8.4,
and does not parse: where it takes a word for a name by mistake, correct the list of words.
"""

from __future__ import annotations

import re

_WORDS = """
CUBE CUME_DIST DENSE_RANK EMPTY FIRST_VALUE FUNCTION GENERATED GET GROUPING GROUPS IO_AFTER_GTIDS
IO_BEFORE_GTIDS JSON_TABLE LAG LAST_VALUE LATERAL LEAD MANUAL NTH_VALUE NTILE OF OPTIMIZER_COSTS
PARALLEL PERCENT_RANK QUALIFY RANK ROW ROW_NUMBER STORED SYSTEM TABLESAMPLE VIRTUAL WINDOW
"""
RESERVED = frozenset(_WORDS.split())
"""Words that MySQL up to 8.4 reserves and MariaDB 11.8 does not: no names without quotes."""

_ITS_OWN = re.compile(
    r"\bRETURNING\b|\b(?:INDEX|COLUMN|KEY) IF (?:NOT )?EXISTS\b|\bCREATE OR REPLACE TABLE\b"
    r"|\bFOR SYSTEM_TIME\b|\bNEXT VALUE FOR\b|\bSET STATEMENT\b",
    re.IGNORECASE,
)
"""What is in MariaDB alone."""

_QUOTED = re.compile(r"`[^`]*`|'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_CHANGED = re.compile(r"\s*(?:UPDATE|DELETE\s+FROM)\s+(`?)(\w+)\1")


def refused(sql: str) -> str | None:
    """Why MySQL 8 would not carry out a statement that MariaDB does; None where nothing is seen."""
    bare = _QUOTED.sub(" ", sql)
    for word in re.findall(r"[A-Za-z_]\w*", bare):
        if word.upper() in RESERVED:
            return f"{word} is reserved"
    alone = _ITS_OWN.search(bare)
    if alone:
        return f"{alone[0]} is MariaDB's alone"
    changed = _CHANGED.match(sql)
    if changed:
        # Error 1093; MariaDB takes it from 11.1 on.
        again = rf"\b(?:FROM|JOIN)\s+`?{changed[2]}\b"
        if re.search(again, sql[changed.end() :]):
            return f"{changed[2]} is changed by what is asked of it itself"
    return None
