"""Names that look alike: skeletons by Unicode Technical Standard 39, section 4.

    skeletons("аnn") & skeletons("Ann")  # the first begins with a Cyrillic letter

A skeleton is a name with each character replaced by a prototype of all that look like it. Texts
with one skeleton look alike. Case and width count as looks here, beyond the standard. `l` looks
like `I`, and `I` is `i` in capitals, but `l` does not look like `i`: so a name has two skeletons,
one of the letters as they look, and one of the letters that they are in lower case. Names look
alike if they have a skeleton in common.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from bbs.core.values import NAME_LENGTH

MOST_CACHED = 10_000  # names; of a person's friends, each is compared with every new name

LONGEST = 4 * NAME_LENGTH
"""Characters of the longest text that is compared, for a name in any form. To normalize 64 KiB of
marks takes a second."""

_TABLE = Path(__file__).with_name("confusables.txt")


@lru_cache(MOST_CACHED)
def skeletons(name: str) -> frozenset[str]:
    """The one or two skeletons of `name`; a text that is too long for one is its own."""
    if len(name) > LONGEST:
        return frozenset((name,))
    return frozenset((_lower(name), _lower(name.casefold())))


def look_alike(one: str, other: str) -> bool:
    """Whether two different names look alike."""
    return one != other and not skeletons(one).isdisjoint(skeletons(other))


def _lower(text: str) -> str:
    return _skeleton(_skeleton(text).casefold())


def _skeleton(text: str) -> str:
    whole = "".join(map(_prototype, unicodedata.normalize("NFD", text)))
    return unicodedata.normalize("NFD", whole)


@lru_cache(MOST_CACHED)
def _prototype(character: str) -> str:
    """The prototype of a character. The table leaves out those that look like their compatibility
    decomposition, as wide letters and mathematical ones do."""
    prototypes = _prototypes()
    if character in prototypes:
        return prototypes[character]
    plain = unicodedata.normalize("NFKD", character)
    return "".join(prototypes.get(each, each) for each in plain)


@cache  # Reading them takes some 2 ms; a process that compares no names does without.
def _prototypes() -> Mapping[str, str]:
    lines = _TABLE.read_text("utf-8").split("\n")
    entries = [line.split("\t") for line in lines if "\t" in line]
    return {each: prototype for prototype, characters in entries for each in characters}
