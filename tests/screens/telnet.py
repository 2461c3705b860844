"""Captures of the telnet gateway in tmux, 80 columns wide: `python -m tests.screens.telnet`.

From the project's folder; they go to `docs/screens`. One service, ann with telnet, bob with nc.
Everything is as it was on the screen, but for the ports (`tests/screens/terminal.py`).
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.screens.terminal import SCREENS, Stage, Window


def gateway_port(stage: Stage) -> str:
    (port,) = re.findall(r": telnet 127\.0\.0\.1 (\d+)", "\n".join(stage.service.lines()))
    return str(port)


def same_conversation(telnet: Window, nc: Window) -> None:
    telnet.shows("bbs>")
    telnet.enter("")
    telnet.enter("register ann", "secret", "secret")
    telnet.shows("Success!")
    telnet.enter("login ann", "secret")
    telnet.shows("ann>")
    nc.shows("bbs>")
    nc.enter("register bob secret")
    nc.shows("Success!")
    nc.enter("login bob", "secret")
    nc.shows("bob>")
    telnet.enter("invite bob")
    nc.enter("list-invite", "accept-invite ann")
    telnet.enter("talk bob", "hello, are you there?")
    nc.shows("hello, are you there?")
    telnet.type("it is late, 已經")
    nc.enter("send ann I am, 我在這裡")
    telnet.shows("<<<bob->ann: I am, 我在這裡>>>")
    telnet.enter("十點了")
    nc.shows("it is late, 已經十點了")
    nc.enter("send ann \x1b[2Jand this does not clear your screen", "exit")
    telnet.shows("does not clear your screen")
    telnet.enter("/list-friend", "/exit")
    telnet.shows("Bye!")


def people(telnet: Window, nc: Window) -> None:
    """Bob is there by nc already; ann comes back by telnet."""
    nc.enter("login bob secret", "send ann good morning", "post I am back")
    telnet.shows("bbs>")
    telnet.enter("", "login ann", "secret")
    telnet.shows("came while you were away")
    telnet.enter("w", "friends", "receive-post", "talk bob")
    telnet.shows("Talking to bob.")
    telnet.enter("good morning!", "/?")
    telnet.shows("-- more --")
    nc.enter("send ann how long is that list?", "history ann")
    telnet.shows("how long is that list?")
    telnet.enter("q")
    telnet.enter("exit", "end", "lsit-friend", "? change-password", "change-password")
    telnet.enter("secret", "another", "another")
    telnet.shows("Success!")
    nc.enter("register cat secret", "exit")
    telnet.enter("exit")
    telnet.shows("Bye!")


def main() -> None:
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            port = gateway_port(stage)
            # A shell around them keeps the window when they have ended.
            telnet, nc = (
                stage.window(program, "sh", "-c", f"{program} 127.0.0.1 {port}; exec sleep 60")
                for program in ("telnet", "nc")
            )
            same_conversation(telnet, nc)
            stage.keep("telnet.txt", telnet=telnet)
            stage.keep("nc.txt", nc=nc)
            telnet, nc = (
                stage.window(name, "sh", "-c", f"{program} 127.0.0.1 {port}; exec sleep 60")
                for name, program in (("telnet-again", "telnet"), ("nc-again", "nc"))
            )
            people(telnet, nc)
            stage.keep("telnet-people.txt", telnet=telnet, nc=nc)
        finally:
            stage.end()


if __name__ == "__main__":
    main()
