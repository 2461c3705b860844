"""How sections are declared, what is no section, and what operators read of their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.config import Configuration, described, kinds, setting
from bbs.config.loading import ConfigError, read
from bbs.config.settings import keys_of

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


@dataclass(frozen=True)
class Every:
    """One key of each kind."""

    flag: bool = setting(False, "a flag")
    whole: int = setting(-1, "a whole number")
    least: int = setting(2, "one with a minimum", minimum=2)
    number: float = setting(1, "a number")
    text: str = setting("", "a text")
    word: str = setting("a", "a word", choices=("a",))
    texts: tuple[str, ...] = setting((), "texts")
    hidden: str = setting("", "a secret", secret=True)
    own: str = setting("b", "of another kind", kind=kinds.choice("b", "c"), handed_on=False)


@dataclass(frozen=True)
class Unresolved:
    """Where an annotation cannot be had, the default says what a key is."""

    one: Unknown = setting(1, "a number")
    other: bool = setting(True, "a flag")


class Kinds(SynchronousTestCase):
    def test_derived(self) -> None:
        self.assertEqual(
            {name: key.kind.right for name, key in keys_of(Every).items()},
            {
                "flag": "true or false",
                "whole": "a whole number",
                "least": "a whole number, 2 or more",
                "number": "a number",
                "text": "a text without control characters",
                "word": '"a"',
                "texts": "a text without control characters, or a list of them",
                "hidden": "a text without control characters",
                "own": '"b" or "c"',
            },
        )

    def test_unresolved(self) -> None:
        right = {name: key.kind.right for name, key in keys_of(Unresolved).items()}
        self.assertEqual(right, {"one": "a whole number", "other": "true or false"})

    def test_handed_on(self) -> None:
        """Everything but secrets, unless it is said."""
        kept = {name for name, key in keys_of(Every).items() if not key.handed_on}
        self.assertEqual(kept, {"hidden", "own"})

    def test_secret(self) -> None:
        self.assertNotIn("hidden", repr(Every()))
        kind = keys_of(Every)["hidden"].kind
        self.assertTrue(kind.secret)
        self.assertEqual((kind.masked("x://y:z@w"), kind.masked("")), ("***", ""))


class NoSections(SynchronousTestCase):
    """Whoever wrote it reads in a line what is wrong."""

    def refusal(self, **fields: Any) -> str:
        """Why a frozen dataclass with these fields, an annotation and a value each, is none."""
        body = {"__annotations__": {name: kind for name, (kind, _) in fields.items()}}
        body |= {name: value for name, (_, value) in fields.items()}
        bare: type[Any] = type("Section", (), body)
        section = dataclass(frozen=True)(bare)
        return str(self.assertRaises(TypeError, keys_of, section))

    def test_no_frozen_dataclass(self) -> None:
        @dataclass
        class Thawed:
            x: int = setting(1, "x")

        for section in (int, object(), Thawed, Every()):
            error = self.assertRaises(TypeError, keys_of, section)
            self.assertIn("must be a dataclass(frozen=True)", str(error))

    def test_keys(self) -> None:
        for kind, value, wrong in (
            (int, 1, "must be a setting(default, help)"),
            (int, setting(1, ""), "needs a line of help"),
            (int, setting(1, "two\nlines"), "needs a line of help"),
            (int, setting("1", "x"), "has a default that is not a whole number"),
            (int, setting(0, "x", minimum=1), "has a default that is not a whole number, 1 or"),
            (str, setting("", "x", minimum=1), "has a minimum, so it must be a number"),
            (str, setting("", "x", maximum=1), "has a maximum, so it must be a number"),
            (
                int,
                setting(9, "x", maximum=8),
                "has a default that is not a whole number, at most 8",
            ),
            (
                float,
                setting(9.0, "x", minimum=1, maximum=8),
                "has a default that is not a number, 1 to 8",
            ),
            (int, setting(1, "x", choices=("a",)), "has choices, so it must be a str"),
            (bytes, setting(b"", "x"), "must be a bool, an int, a float, a str, a Rate or a tuple"),
        ):
            self.assertIn(f"the section Section: key {wrong}", self.refusal(key=(kind, value)))
        self.assertIn("Key must be in lower case", self.refusal(Key=(int, setting(1, "x"))))

    def test_name_of_a_secrets_file(self) -> None:
        refusal = self.refusal(
            key=(str, setting("", "x", secret=True)), key_file=(str, setting("", "x"))
        )
        self.assertIn("key_file is the file of the secret key", refusal)


class Helps(SynchronousTestCase):
    """What operators read of each key."""

    def test_described(self) -> None:
        """`bbs config keys` shows all of them as TOML."""
        lines = described(Configuration()).splitlines()
        self.assertEqual(lines[0], "[login]")
        self.assertIn("maximum = 20                         # app servers, at most", lines)


@dataclass(frozen=True)
class Span:
    """Two keys that a section compares."""

    least: int = setting(1, "the least")
    most: int = setting(5, "the most")

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError(f"least is {self.least}, and over most, {self.most}")


@dataclass(frozen=True)
class Never:
    most: int = setting(5, "the most")

    def __post_init__(self) -> None:
        raise ValueError("always wrong")


class Refused(SynchronousTestCase):
    """A section may refuse its values by a ValueError, which is told in a line."""

    def test_together(self) -> None:
        found = read(None, {}, {"span.least": 7}, (Span,))
        self.assertEqual(found.problems, ("[span]: least is 7, and over most, 5",))
        self.assertEqual(found.wrong, {"span.least"})
        self.assertEqual(found.config.settings(Span), Span())

    def test_right(self) -> None:
        found = read(None, {}, {"span.least": 7, "span.most": 8}, (Span,))
        self.assertEqual((found.problems, found.config.settings(Span)), ((), Span(7, 8)))

    def test_its_defaults(self) -> None:
        for options in ({}, {"never.most": 7}):
            with self.assertRaisesRegex(ConfigError, r"\[never\]: its defaults are wrong: always"):
                read(None, {}, options, (Never,))
