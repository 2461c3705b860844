"""Captures of `bbs client` in tmux: `python -m tests.screens.terminal`.

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.integration.service import BIN
from tests.services.servers import free_port

SCREENS = Path("docs/screens")
COLUMNS, ROWS = 80, 24
PATIENCE = 60.0


class Window:
    """A window of tmux in which one command runs."""

    def __init__(
        self,
        socket: str,
        name: str,
        environ: dict[str, str],
        *argv: str | Path,
        columns: int = COLUMNS,
    ) -> None:
        self._tmux = ("tmux", "-L", socket, "-f", os.devnull)
        self._name = name
        words = " ".join(f"{key}={shlex.quote(value)}" for key, value in environ.items())
        command = f"exec env {words} {shlex.join(map(str, argv))}"
        size = ("-x", str(columns), "-y", str(ROWS))
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

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names for them."""
        self._run("send-keys", "-t", self._name, *keys)
        time.sleep(0.5)

    def is_open(self) -> bool:
        argv = (*self._tmux, "has-session", "-t", f"={self._name}")
        return subprocess.run(argv, check=False, capture_output=True).returncode == 0

    def end(self) -> None:
        """Close it, and what runs in it."""
        self._run("kill-session", "-t", self._name)

    def visible(self) -> list[str]:
        """What is on the screen alone."""
        return self._run("capture-pane", "-p", "-t", self._name).rstrip("\n").split("\n")

    def coloured(self) -> list[str]:
        """What is on the screen alone, with the escape sequences of its colours."""
        return self._run("capture-pane", "-p", "-e", "-t", self._name).rstrip("\n").split("\n")

    def paste(self, text: str) -> None:
        """Paste text, and press Enter."""
        self._run("set-buffer", text)
        self._run("paste-buffer", "-p", "-t", self._name)
        self._run("send-keys", "-t", self._name, "Enter")

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
        screens: Path = SCREENS,
    ) -> None:
        self.folder = folder
        self._screens = screens
        self.port = free_port()
        self._program = program
        self._environ = {} if environ is None else environ
        self._socket = f"bbs-screens-{os.getpid()}"
        self.service = self._start("service")

    def _start(self, name: str) -> Window:
        service = self.window(name, *self._program, "up", *self.place)
        service.shows(" is ready: ")
        return service

    @property
    def place(self) -> Sequence[str]:
        return ("--port", str(self.port), "--data", str(self.folder / "data"))

    def environ(self, name: str) -> dict[str, str]:
        """What somebody's programs have in their environment."""
        state = str(self.folder / name)
        return {
            "LANG": "C.UTF-8",
            "XDG_STATE_HOME": state,
            "XDG_CONFIG_HOME": state,
            "PAGER": "",
            **self._environ,
        }

    def window(self, name: str, *argv: str | Path, columns: int = COLUMNS) -> Window:
        return Window(self._socket, name, self.environ(name), *argv, columns=columns)

    def client(self, name: str, columns: int = COLUMNS) -> Window:
        argv = (*self._program, "client", "127.0.0.1", str(self.port))
        window = self.window(name, *argv, columns=columns)
        window.shows("register NAME")
        return window

    def log_in(self, window: Window, name: str, register: bool = False) -> None:
        typed = (f"register {name}", "secret", "secret") if register else (f"login {name} secret",)
        window.enter(*typed)
        window.shows(f"Logged in as {name}.")
        time.sleep(1)

    def begin_again(self, between: Callable[[], object] = lambda: None) -> None:
        """The service ends, and is started once more."""
        self.stop_service()
        between()
        self.service = self._start("service-again")

    def stop_service(self) -> None:
        """The service ends, and its window with it."""
        self.service.press("C-c")
        deadline = time.monotonic() + PATIENCE
        while self.service.is_open() and time.monotonic() < deadline:
            time.sleep(0.1)

    def kill_app_server(self, user: str) -> None:
        """The app server that serves a user dies."""
        data = ("--data", str(self.folder / "data"))
        argv = (BIN / "bbs", "fleet", "list", "--json", *data)
        listed = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        (server,) = [each["id"] for each in listed if user in each["people"]]
        log = (self.folder / "data" / "bbs.log").read_text()
        (pid,) = re.findall(rf"launched {server}: process (\d+)", log)
        os.kill(int(pid), signal.SIGKILL)

    def keep(self, file: str, **windows: Window | Sequence[str]) -> None:
        """Write down what windows show, or showed."""
        parts = []
        for name, window in windows.items():
            lines = window.lines() if isinstance(window, Window) else window
            parts.append(f"── {name} ──\n" + "\n".join(lines))
        ports = {str(self.port): "22222"}

        def usual(found: re.Match[str]) -> str:
            return ports.setdefault(found[0], str(22222 + len(ports)))

        text = "\n\n".join(parts).replace(str(self.folder), "/home/ann")
        text = re.sub(r"(?<=127\.0\.0\.1[: ])\d{4,5}", usual, text)
        (self._screens / file).write_text(re.sub(" +$", "", text, flags=re.M) + "\n")

    def end(self) -> None:
        """End the windows, and all that runs in them."""
        # That its terminal is gone does not end a service.
        self.stop_service()
        subprocess.run(("tmux", "-L", self._socket, "kill-server"), check=False)


def first_visit(stage: Stage) -> tuple[Window, Window]:
    ann, bob = stage.client("ann"), stage.client("bob")
    for window, name in ((ann, "ann"), (bob, "bob")):
        window.enter(f"register {name}", "secret", "secret")
        window.shows(f"Logged in as {name}.")
    ann.enter("invite bob")
    bob.enter("list-invite", "accept-invite ann")
    ann.enter("talk bob", "hello, are you there?")
    bob.shows(" ann  hello, are you there?")
    bob.enter("talk ann")
    bob.type("I am, and I was just ty")
    ann.enter("take your time")
    bob.shows(" ann  take your time")
    bob.enter("ping, there it is")
    ann.shows(" bob  I am, and I was just typing, there it is")
    stage.keep("terminal-first-visit.txt", service=stage.service, ann=ann, bob=bob)
    return ann, bob


def killed(stage: Stage, ann: Window, bob: Window) -> None:
    ann.enter("now look what happens")
    stage.kill_app_server("ann")
    ann.shows("Connection lost.")
    ann.type("I am still typing, ")
    bob.shows("Reconnected.")
    ann.shows("Reconnected.")
    ann.enter("and nothing was lost")
    bob.shows(" ann  I am still typing, and nothing was lost")
    bob.enter("so I see")
    ann.shows(" bob  so I see")
    stage.keep("terminal-app-server-killed.txt", ann=ann, bob=bob)


def chinese(stage: Stage) -> None:
    ming, hong = stage.client("ming"), stage.client("hong")
    for window, name in ((ming, "小明"), (hong, "小紅")):
        window.enter(f"register {name}", "secret", "secret")
        window.shows(f"Logged in as {name}.")
    ming.enter("invite 小紅")
    hong.enter("accept-invite 小明", "create-group 火鍋", "talk 小明")
    ming.enter("talk 小紅", "你好！吃飯了嗎？🍜")
    hong.enter("還沒，一起去吃火鍋 🍲 好不好")
    ming.enter("好啊 👩\u200d🚀👍 六點見", "end", "join-group 火鍋", "send-group 火鍋 我也來了 🎉")
    hong.shows("#火鍋 小明  我也來了")
    hong.type("等你 e\u0301 👩\u200d🚀")
    time.sleep(0.5)
    stage.keep("terminal-chinese.txt", 小明=ming, 小紅=hong)


def invited(stage: Stage) -> None:
    dora, emil = stage.client("dora"), stage.client("emil")
    stage.log_in(dora, "dora", register=True)
    stage.log_in(emil, "emil", register=True)
    dora.type("post I was just thinking that")
    emil.enter("invite dora")
    dora.shows("emil wants to be your friend")
    before = dora.visible()
    dora.enter(" nobody is here", "accept-invite emil", "who")
    emil.shows("dora is your friend now")
    windows: dict[str, Window | Sequence[str]]
    windows = {"dora, while she types": before, "dora": dora, "emil": emil}
    stage.keep("terminal-invited.txt", **windows)


def again(stage: Stage) -> None:
    """In the conversation that dora and emil have begun."""
    dora, emil = stage.client("dora-2"), stage.client("emil-2")
    stage.log_in(dora, "dora")
    stage.log_in(emil, "emil")
    dora.enter("talk emil", "are you still there?")
    emil.enter("talk dora", "yes, but the kettle is on", "back in a minute")
    dora.shows("back in a minute")
    dora.enter("no hurry", "/exit")
    emil.enter("so what was it?")
    emil.enter("/exit")
    stage.begin_again()
    after = stage.client("dora-3")
    stage.log_in(after, "dora")
    after.enter("talk emil")
    after.shows("so what was it?", 2)
    stage.keep("terminal-talk-again.txt", **{"dora, after client and service began anew": after})


def two_terminals(stage: Stage) -> None:
    desk, kitchen, emil = stage.client("desk"), stage.client("kitchen"), stage.client("emil-4")
    for window in (desk, kitchen):
        stage.log_in(window, "dora")
    stage.log_in(emil, "emil")
    desk.enter("talk emil", "this is from my desk")
    kitchen.shows("dora → emil  this is from my desk")
    emil.enter("send dora and where is the other one?")
    kitchen.shows("where is the other one?")
    kitchen.enter("send emil in the kitchen")
    desk.shows("in the kitchen")
    stage.keep("terminal-two.txt", **{"dora, at her desk": desk, "dora, in the kitchen": kitchen})


def paging(stage: Stage) -> None:
    dora, emil = stage.client("dora-5"), stage.client("emil-5")
    stage.log_in(dora, "dora")
    stage.log_in(emil, "emil")
    emil.paste("\n".join(f"post a thought, number {number} of 200" for number in range(1, 201)))
    emil.press("Enter")  # as it is asked whether these are commands
    emil.shows("Posted to all your friends.", 200)
    dora.enter("receive-post")
    dora.shows("-- more: 23 of")
    first = dora.visible()
    dora.press("Space")
    dora.shows("-- more: 46 of")
    second = dora.visible()
    dora.enter("post that is enough")
    dora.shows("Posted to all your friends.")
    stage.keep(
        "terminal-paging.txt",
        **{"dora, at first": first, "after a space": second, "typed on": dora.visible()},
    )


def back(stage: Stage) -> None:
    dora, emil = stage.client("dora-6"), stage.client("emil-6")
    stage.log_in(dora, "dora")
    stage.log_in(emil, "emil")
    emil.paste("\n".join(f"send dora sheep number {number}" for number in range(1, 201)))
    emil.press("Enter")
    dora.shows("sheep number 200")
    dora.enter("talk emil")
    dora.press("PageUp")
    dora.shows("rows below")
    up = dora.visible()
    dora.enter("/kettle")
    dora.shows("the kettle is on")
    stage.keep("terminal-back.txt", **{"dora, after Page Up": up, "after /kettle": dora.visible()})


def narrow(stage: Stage) -> None:
    dora, emil = stage.client("dora-7", 40), stage.client("emil-7", 40)
    stage.log_in(dora, "dora")
    stage.log_in(emil, "emil")
    dora.enter("talk emil", "my window is as wide as half of yours")
    emil.enter("who", "send dora so is mine, and yet I see all that you write")
    dora.shows("that you write")
    dora.press("PageUp")
    dora.shows("emil: the beginning")
    view = dora.visible()
    dora.press("q")
    dora.type("and I")
    time.sleep(0.5)
    stage.keep(
        "terminal-40-columns.txt",
        **{"dora": dora.visible(), "after Page Up": view, "emil": emil.visible()},
    )


def main() -> None:
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stage = Stage(Path(folder))
        try:
            killed(stage, *first_visit(stage))
            chinese(stage)
            invited(stage)
            again(stage)
            two_terminals(stage)
            narrow(stage)
            paging(stage)
            back(stage)
        finally:
            stage.end()


if __name__ == "__main__":
    main()
