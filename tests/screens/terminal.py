"""Captures of `bbs client` in tmux, 80 columns wide: `python -m tests.screens.terminal`.

From the project's folder; they go to `docs/screens`. Everything in them is as it was on the
screen, but for the ports: they were whichever were free, and are written as 22222 and what follows.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.service import BIN
from tests.services.servers import free_port

SCREENS = Path("docs/screens")
COLUMNS, ROWS = 80, 24
PATIENCE = 60.0


class Window:
    """A window of tmux in which one command runs."""

    def __init__(self, socket: str, name: str, environ: dict[str, str], *argv: str | Path) -> None:
        self._tmux = ("tmux", "-L", socket, "-f", os.devnull)
        self._name = name
        words = " ".join(f"{key}={shlex.quote(value)}" for key, value in environ.items())
        command = f"exec env {words} {shlex.join(map(str, argv))}"
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self._run("new-session", "-d", "-s", name, *size, command)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run((*self._tmux, *arguments), check=True, capture_output=True, text=True)
        return done.stdout

    def lines(self) -> list[str]:
        """What is on the screen and above it."""
        shown = self._run("capture-pane", "-p", "-t", self._name, "-S", "-1000")
        return shown.rstrip("\n").split("\n")

    def shows(self, text: str, times: int = 1) -> None:
        """Wait until so many lines have `text` in them."""
        deadline = time.monotonic() + PATIENCE
        while sum(text in line for line in self.lines()) < times:
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in\n" + "\n".join(self.lines()))
            time.sleep(0.05)

    def type(self, text: str) -> None:
        self._run("send-keys", "-t", self._name, "-l", text)

    def enter(self, *lines: str) -> None:
        """Type lines, slowly enough that each is answered before the next."""
        for line in lines:
            self.type(line)
            self._run("send-keys", "-t", self._name, "Enter")
            time.sleep(0.5)


class Stage:
    """A service of its own in one window, and people in others."""

    def __init__(
        self,
        folder: Path,
        program: Sequence[str | Path] = (BIN / "bbs",),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._program = program
        self._environ = environ or {}
        self._socket = f"bbs-screens-{os.getpid()}"
        self.service = self.window("service", *program, "up", *self.place)
        self.service.shows(" is ready: ")

    @property
    def place(self) -> Sequence[str]:
        return ("--port", str(self.port), "--data", str(self.folder / "data"))

    def window(self, name: str, *argv: str | Path) -> Window:
        state = str(self.folder / name)
        environ = {"LANG": "C.UTF-8", "XDG_STATE_HOME": state, **self._environ}
        return Window(self._socket, name, environ, *argv)

    def client(self, name: str) -> Window:
        window = self.window(name, *self._program, "client", "127.0.0.1", str(self.port))
        window.shows("no user>")
        return window

    def kill_app_server(self, user: str) -> None:
        """The app server that serves a user dies."""
        data = ("--data", str(self.folder / "data"))
        argv = (BIN / "bbs", "fleet", "list", "--json", *data)
        listed = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        (server,) = [each["id"] for each in listed if user in each["people"]]
        log = (self.folder / "data" / "bbs.log").read_text()
        (pid,) = re.findall(rf"launched {server}: process (\d+)", log)
        os.kill(int(pid), signal.SIGKILL)

    def keep(self, file: str, **windows: Window) -> None:
        """Write down what windows show."""
        parts = [f"── {name} ──\n" + "\n".join(window.lines()) for name, window in windows.items()]
        ports = {str(self.port): "22222"}

        def usual(found: re.Match[str]) -> str:
            return ports.setdefault(found[0], str(22222 + len(ports)))

        text = "\n\n".join(parts).replace(str(self.folder), "/home/ann")
        text = re.sub(r"(?<=127\.0\.0\.1[: ])\d{4,5}", usual, text)
        (SCREENS / file).write_text(re.sub(" +$", "", text, flags=re.M) + "\n")

    def end(self) -> None:
        """End the windows, and all that runs in them."""
        subprocess.run(("tmux", "-L", self._socket, "kill-server"), check=False)
        time.sleep(5)


def first_visit(stage: Stage) -> tuple[Window, Window]:
    ann, bob = stage.client("ann"), stage.client("bob")
    for window, name in ((ann, "ann"), (bob, "bob")):
        window.enter(f"register {name}", "secret", "secret")
        window.shows("Success!")
        window.enter(f"login {name}", "secret")
        window.shows(f"{name}@")
    ann.enter("invite bob")
    bob.enter("list-invite", "accept-invite ann")
    ann.enter("talk bob", "hello, are you there?")
    bob.shows("ann->bob: hello, are you there?")
    bob.enter("talk ann")
    bob.type("I am, and I was just ty")
    ann.enter("take your time")
    bob.shows("ann->bob: take your time")
    bob.enter("ping, there it is")
    ann.shows("bob->ann: I am, and I was just typing, there it is")
    stage.keep("terminal-first-visit.txt", service=stage.service, ann=ann, bob=bob)
    return ann, bob


def killed(stage: Stage, ann: Window, bob: Window) -> None:
    ann.enter("now look what happens")
    stage.kill_app_server("ann")
    ann.shows("is lost")
    ann.type("I am still typing, ")
    bob.shows("is served at")
    ann.shows("is served at")
    ann.enter("and nothing was lost")
    bob.shows("ann->bob: I am still typing, and nothing was lost")
    bob.enter("so I see")
    ann.shows("bob->ann: so I see")
    stage.keep("terminal-app-server-killed.txt", ann=ann, bob=bob)


def chinese(stage: Stage) -> None:
    ming, hong = stage.client("ming"), stage.client("hong")
    for window, name in ((ming, "小明"), (hong, "小紅")):
        window.enter(f"register {name}", "secret", "secret", f"login {name}", "secret")
        window.shows(f"{name}@")
    ming.enter("invite 小紅")
    hong.enter("accept-invite 小明", "create-group 火鍋", "talk 小明")
    ming.enter("talk 小紅", "你好！吃飯了嗎？🍜")
    hong.enter("還沒，一起去吃火鍋 🍲 好不好")
    ming.enter("好啊 👩\u200d🚀👍 六點見", "end", "join-group 火鍋", "send-group 火鍋 我也來了 🎉")
    hong.shows("小明->GROUP<火鍋>: 我也來了")
    hong.type("等你 e\u0301 👩\u200d🚀")
    time.sleep(0.5)
    stage.keep("terminal-chinese.txt", 小明=ming, 小紅=hong)


def main() -> None:
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            killed(stage, *first_visit(stage))
            chinese(stage)
        finally:
            stage.end()


if __name__ == "__main__":
    main()
