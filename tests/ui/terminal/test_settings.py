"""What somebody has set for their terminal, and what of it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.process import settings_file
from bbs.ui.terminal.settings import Attention, Settings, read_settings
from bbs.ui.terminal.theme import STYLES, style

ALL = """
times = false
bell = "both"
pager = "less -S"
[colours]
senders = false
[colours.styles]
prompt = "bold #5f8700"
[keys]
history = "pageup"
backward-kill-word = ["c-w", "escape backspace"]
"""


class PlaceTests(SynchronousTestCase):
    def test_by_the_specification(self) -> None:
        for environ, folder in (
            ({"HOME": "/home/ann"}, "/home/ann/.config"),
            ({"HOME": "/home/ann", "XDG_CONFIG_HOME": "not/absolute"}, "/home/ann/.config"),
            ({"HOME": "/home/ann", "XDG_CONFIG_HOME": "/c"}, "/c"),
            ({}, "~/.config"),
        ):
            wanted = Path(folder).expanduser() / "bbs" / "client.toml"
            self.assertEqual(settings_file(environ, "client.toml"), wanted)


class SettingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def read(self, text: str | bytes) -> tuple[Settings, Sequence[str]]:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        settings, problems = read_settings(self.path)
        for problem in problems:
            self.assertTrue(problem.startswith(f"{self.path}: "), problem)
        return settings, [problem.removeprefix(f"{self.path}: ") for problem in problems]

    def test_without_a_file(self) -> None:
        settings, problems = read_settings(self.path)
        self.assertEqual((settings, problems), (Settings(), []))
        self.assertTrue(settings.times)
        self.assertEqual(settings.bell, Attention.HIGHLIGHT)
        self.assertIsNone(settings.pager)

    def test_all(self) -> None:
        settings, problems = self.read(ALL)
        self.assertEqual(problems, [])
        self.assertEqual((settings.times, settings.bell), (False, Attention.BOTH))
        self.assertEqual((settings.pager, settings.senders), ("less -S", False))
        self.assertEqual(dict(settings.styles), {"prompt": "bold #5f8700"})
        self.assertEqual(
            {name: [*keys] for name, keys in settings.keys.items()},
            {
                "history": [("pageup",)],
                "backward-kill-word": [("c-w",), ("escape", "backspace")],
            },
        )

    def test_a_number_without_end(self) -> None:
        settings, problems = self.read(f"times = {'1' * 5000}")
        self.assertEqual(settings, Settings())
        self.assertEqual(len(problems), 1)

    def test_a_mistake_costs_what_it_is_in(self) -> None:
        settings, problems = self.read(
            'times = "no"\nbell = "loud"\npager = 1\ntimez = 1\n'
            "[colours]\nsenders = 0\nhue = 1\n"
            '[colours.styles]\nprompt = "boldly"\nnothing = ""\nnotice = "bold"\n'
            '[keys]\nhistory = "page-up"\nfly = "c-x"\nend = []\ncomplete = [3]\n'
            'interrupt = 5\nsuspend = ""\n'
        )
        self.assertEqual([*dict(settings.styles)], ["notice"])
        self.assertEqual([*settings.keys], ["end"], "who wants no key has none")
        self.assertEqual(
            [problem.partition(":")[0] for problem in problems],
            [
                "times",
                "bell",
                "pager",
                "colours.senders",
                "colours.styles.prompt",
                "colours.styles.nothing",
                "keys.history",
                "keys.fly",
                "keys.complete",
                "keys.interrupt",
                "keys.suspend",
                "timez",
                "colours.hue",
            ],
        )
        self.assertEqual(problems[0], "times: true or false")
        self.assertEqual(problems[11], "timez: no such setting")
        default = Settings()
        self.assertEqual((settings.times, settings.bell), (default.times, default.bell))

    def test_tables_that_are_none(self) -> None:
        settings, problems = self.read("colours = 1\nkeys = 2\n")
        self.assertEqual(problems, ["colours: a table", "keys: a table"])
        self.assertEqual(settings, Settings())

    def test_what_is_no_toml(self) -> None:
        settings, problems = self.read("times = \n")
        self.assertEqual(settings, Settings())
        self.assertIn("at line 1", problems[0])
        self.assertEqual(self.read(b"\xff")[1], ["not UTF-8"])
        self.assertEqual(self.read("x = " + "[" * 100_000)[0], Settings())

    def test_it_cannot_act_on_the_terminal(self) -> None:
        _, (problem,) = self.read('"a\\u001bb" = 1\n')
        self.assertEqual(problem, "a\\x1bb: no such setting")

    def test_a_file_that_cannot_be_read(self) -> None:
        self.path.mkdir()
        settings, problems = read_settings(self.path)
        self.assertEqual(settings, Settings())
        self.assertEqual(problems, [f"{self.path}: Is a directory"])

    def test_every_style_can_be_set(self) -> None:
        lines = "\n".join(f'"{name}" = "bold"' for name in STYLES)
        settings, problems = self.read(f"[colours.styles]\n{lines}\n")
        self.assertEqual(problems, [])
        own = style(settings.styles)
        self.assertTrue(own.get_attrs_for_style_str("class:notice").bold)
        self.assertFalse(own.get_attrs_for_style_str("class:notice").italic)
