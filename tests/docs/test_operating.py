"""The keys in `docs/operating.md`, compared with the configuration's sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.board.names import Board
from bbs.config import Configuration, load
from bbs.config.sections import OWN_SECTIONS
from bbs.config.settings import keys_of
from tests.paths import CHECKOUT

SECTIONS = {**OWN_SECTIONS, "board": Board}

PAGE = CHECKOUT / "docs/operating.md"

_SECTION = re.compile(r"^### `\[(\w+)\]`\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^- `(\w+)` \((.+); `(.+)`\): (.+)$", re.MULTILINE)


def documented() -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Each section, with the name, type, default and meaning of each key."""
    for section, text in _SECTION.findall(PAGE.read_text("utf-8")):
        yield section, _ENTRY.findall(text)


class Keys(SynchronousTestCase):
    def test_every_key(self) -> None:
        """Each section and each key has an entry, in the order of the declarations."""
        written = {section: [entry[0] for entry in entries] for section, entries in documented()}
        declared = {section: [*keys_of(kind)] for section, kind in SECTIONS.items()}
        self.assertEqual(written, declared)
        self.assertEqual([*written], [*declared])

    def test_defaults(self) -> None:
        """A file with all the documented defaults is the default configuration."""
        path = Path(self.mktemp())
        with path.open("w") as file:
            for section, entries in documented():
                file.write(f"[{section}]\n")
                file.writelines(f"{key} = {default}\n" for key, _, default, _ in entries)
        loaded = load(str(path), {}, settings=(Board,))
        self.assertEqual(loaded, load(None, {}, settings=(Board,)))

    def test_least_values(self) -> None:
        """A type with `≥` says the least value that the configuration takes."""
        for section, entries in documented():
            for key, kind, _, _ in entries:
                if least := re.match(r"integer ≥ (\d+)", kind):
                    declared = keys_of(SECTIONS[section])[key]
                    self.assertIn(f", {least[1]} or more", declared.kind.right, key)

    def test_secrets(self) -> None:
        """What may stand in a file is called a secret."""
        named = {
            f"{section}.{key}"
            for section, entries in documented()
            for key, kind, _, _ in entries
            if "secret" in kind
        }
        every = Configuration().every_key()
        secret = {f"{section}.{key}" for section, key, declared, _ in every if declared.kind.secret}
        self.assertEqual(named, secret)
