"""Captures of a day and the next: `python -m tests.screens.days [FOLDER]`.

From the project's folder; they go to `docs/screens`, or to FOLDER. Ann is at a terminal, bob at
telnet, and carol has scripts, until she sits down at a narrow terminal. On the first day all clocks
are a day behind (libfaketime). `tests.integration.test_screens` makes them once more and compares.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.service import BIN
from tests.screens.telnet import gateway_port
from tests.screens.terminal import SCREENS, Stage, Window


def yesterday() -> dict[str, str]:
    """For programs whose wall clock is a day behind; the monotonic one is true."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": "-1d",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # as in `tests.integration.test_wall_clock`
        "NO_FAKE_STAT": "1",
    }


class Days(Stage):
    """A stage for people at terminals, by telnet and by scripts, and for an operator."""

    def telnet(self, name: str) -> Window:
        """A window with telnet, in which somebody has pressed Enter."""
        command = f"telnet 127.0.0.1 {gateway_port(self)}; exec sleep 600"
        window = self.window(name, "sh", "-c", command)
        window.shows("bbs>")
        window.enter("")
        window.shows("bbs>", 2)
        return window

    def script(self, *lines: str) -> list[str]:
        """What a shell shows of a script of carol's."""
        file = self.folder / "script"
        file.write_text("".join(f"{line}\n" for line in lines))
        shown = self._printed("carol", "client", "127.0.0.1", str(self.port), stdin=file)
        return ["$ cat script", *lines, f"$ bbs client 127.0.0.1 {self.port} < script", *shown]

    def operate(self, *arguments: str) -> list[str]:
        """What a shell shows of an operator's command."""
        shown = self._printed("operator", *arguments, "--data", str(self.folder / "data"))
        words = (f'"{word}"' if " " in word else word for word in arguments)
        return [" ".join(("$ bbs", *words)), *shown]

    def _printed(self, name: str, *arguments: str, stdin: Path = Path("/dev/null")) -> list[str]:
        done = subprocess.run(
            (BIN / "bbs", *arguments),
            input=stdin.read_bytes(),
            env={**os.environ, **self.environ(name)},
            check=True,
            capture_output=True,
        )
        return done.stdout.decode().splitlines()


def answered(window: Window, *lines: tuple[str, str]) -> None:
    """Type each line, and wait until the window shows its answer once more than before."""
    for line, answer in lines:
        before = sum(answer in shown for shown in window.lines())
        before += answer in line
        window.enter(line)
        window.shows(answer, before + 1)


def first_day(stage: Days) -> None:
    ann, bob = stage.client("ann"), stage.telnet("bob")
    stage.log_in(ann, "ann", register=True)
    bob.enter("register bob", "secret", "secret")
    bob.shows("Logged in as bob.")
    carol = stage.script("register carol secret", "login carol secret", "invite carol bob")
    bob.shows("carol wants to be your friend")
    answered(ann, ("invite bob", "Invited bob."), ("invite carol", "Invited carol."))
    bob.shows("ann wants to be your friend")
    answered(
        bob, ("accept-invite carol", "are friends now"), ("accept-invite ann", "now. Try: talk ann")
    )
    ann.shows("bob is your friend now")
    answered(bob, ("post who plays chess on Friday?", "Posted"))
    ann.shows("who plays chess on Friday?")
    answered(ann, ("reply 1 I do, if somebody has a board", "Replied"))
    bob.shows("I do, if somebody has a board")
    answered(bob, ("logout", "logged out."), ("exit", "Bye!"))
    answered(
        ann,
        ("who", "bob is out"),
        ("send bob have you a board?", "is not online"),
        ("mail bob have you a board?", "It waits"),
        ("logout", "logged out."),
    )
    more = stage.script(
        "login carol secret",
        "list-invite carol",
        "accept-invite carol ann",
        "posts carol",
        "reply carol 1 me too",
        "mail carol bob ask dora, she has a board",
        "logout carol",
    )
    windows: dict[str, Window | list[str]]
    windows = {"ann": ann, "bob, by telnet": bob, "carol, by scripts": [*carol, "", *more]}
    stage.keep("two-days-first.txt", **windows)


def second_day(stage: Days) -> None:
    bob = stage.telnet("bob, next day")
    answered(bob, ("login bob", "Password"), ("secret", "ask dora"))
    answered(
        bob,
        ("posts", "me too"),
        ("reply 1 on Friday at nine, then", "Replied"),
        ("thread 1", "reply 4 to 1"),
        ("mail ann I have one now", "It waits"),
    )
    ann = stage.client("ann, next day")
    answered(ann, ("login ann", "Password"), ("secret", "bob  I have one now"))
    answered(
        ann,
        ("new", "new post"),
        ("posts", "on Friday at nine"),
        ("talk bob", "Talking to bob."),
        ("good, see you on Friday", "ann  good"),
        ("end", "ann>"),
        ("post bring bisquits", "Posted"),
        ("my-posts", "bring bisquits"),
        ("delete-post 5", "is deleted"),
        ("post bring biscuits", "Posted"),
    )
    bob.shows("bring biscuits")
    carol = stage.script("login carol secret", "posts carol", "thread carol 1", "logout carol")
    windows: dict[str, Window | list[str]]
    windows = {"ann": ann, "bob, by telnet": bob, "carol, by a script": carol}
    stage.keep("two-days-second.txt", **windows)


def private_group(stage: Days) -> None:
    ann, carol = stage.client("ann, in a group"), stage.client("carol, in a group", 40)
    for window, name in ((ann, "ann"), (carol, "carol")):
        stage.log_in(window, name)
    answered(
        ann,
        ("create-group chess", "Made the group"),
        ("set-topic chess Friday at nine", "The topic"),
        ("close-group chess", "private now"),
    )
    answered(carol, ("groups", "owner ann"), ("join-group chess", "chess is private:"))
    answered(ann, ("invite-group chess carol", "Invited carol"))
    carol.shows("ann invites you to a group")
    answered(carol, ("join-group chess", "You are in chess"))
    ann.shows("carol joined chess")
    answered(ann, ("post-group chess the first game is carol's and mine", "Posted to chess"))
    answered(carol, ("new", "in a group"), ("group-posts chess", "carol's and mine"))
    answered(carol, ("talk chess", "Talking to"), ("I take white", "carol  I take white"))
    ann.shows("I take white")
    answered(ann, ("kick chess carol", "no longer a member"))
    carol.shows("removed you")
    answered(carol, ("what have I done?", "what have"), ("groups", "owner ann"))
    answered(carol, ("join-group chess", "private:"))
    answered(ann, ("groups", "chess"))
    stage.keep("two-days-group.txt", **{"ann": ann, "carol, in 40 columns": carol})
    for window in (ann, carol):
        answered(window, ("logout", "logged out."))


def announced(stage: Days) -> None:
    ann, bob = stage.client("ann, at night"), stage.telnet("bob, at night")
    stage.log_in(ann, "ann")
    answered(bob, ("login bob", "Password"), ("secret", "Logged in"))
    ann.type("post is there any")
    operator = stage.operate("announce", "The board is closed from ten to eleven.", "--until", "2h")
    ann.shows("Announcement")
    bob.shows("Announcement")
    before = ann.visible()
    carol = stage.client("carol, at night", 40)
    stage.log_in(carol, "carol")
    carol.shows("Announcement")
    windows: dict[str, Window | list[str]]
    windows = {"an operator": operator, "ann, who types": before, "bob, by telnet": bob}
    stage.keep("two-days-announced.txt", **windows, **{"carol, who comes later": carol})


def main(screens: Path = SCREENS) -> None:
    screens.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environ = yesterday()
        stage = Days(Path(folder), environ=environ, screens=screens)
        try:
            first_day(stage)
            stage.begin_again(environ.clear)
            second_day(stage)
            private_group(stage)
            announced(stage)
        finally:
            stage.end()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
