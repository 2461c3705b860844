"""Shorter names of commands, for people, and what somebody meant who typed none there is.

A service's own command comes first, whatever its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from bbs.client.vocabulary import Vocabulary

ALIKE = 0.6
"""How alike two words are, from 0 to 1, of which one may have been meant by the other: `difflib`'s
own measure of close matches."""


def meant(word: str, vocabulary: Vocabulary) -> str:
    """The command that a first word stands for: the alias's, or the word itself."""
    if word in vocabulary.offers:
        return word
    return vocabulary.presentation.aliases.get(word, word)


def aliases_of(name: str, vocabulary: Vocabulary) -> list[str]:
    """By what else a command can be typed."""
    aliases = vocabulary.presentation.aliases
    return [alias for alias in aliases if alias != name and meant(alias, vocabulary) == name]


def suggestion(word: str, names: Iterable[str]) -> str:
    """The name that comes closest to a mistyped word; empty if none is close."""
    return next(iter(get_close_matches(word, [*names], 1, ALIKE)), "")
