"""Captures of the lobby in tmux, 80 columns wide: `python -m tests.screens.lobby`.

From the project's folder; they go to `docs/screens`. The service is `examples/lobby`; the client
and the gateway are those of every service. Ann is at the client, bob at telnet.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.screens.telnet import gateway_port
from tests.screens.terminal import SCREENS, Stage, Window

LOBBY = (sys.executable, "-c", "import sys; from lobby.daemons import main; sys.exit(main())")
ENVIRON = {"PYTHONPATH": str(Path("examples/lobby/src").absolute())}


def an_evening(ann: Window, bob: Window) -> None:
    ann.enter("register ann", "secret", "secret")
    ann.shows("Logged in as ann.")
    ann.enter("help", "help join", "list-lobby", "join chess", "said")
    ann.shows("Nobody has said anything yet.")
    ann.enter("talk", "I am waiting for bob")
    bob.shows("lobby>")
    bob.enter("register bob", "secret", "secret")
    bob.shows("bob>")
    bob.enter("list-lobby", "join chess", "talk")
    bob.shows("#chess ann  I am waiting for bob")
    bob.enter("here I am")
    ann.shows("#chess bob  here I am")
    ann.enter("/ready")
    bob.shows("ann is ready in chess")
    bob.enter("/ready", "/list-lobby", "good luck", "/leave", "leave")
    ann.shows("bob leaves chess")
    bob.enter("exit")
    bob.shows("Bye!")


def main() -> None:
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), LOBBY, ENVIRON)
        try:
            telnet = ("sh", "-c", f"telnet 127.0.0.1 {gateway_port(stage)}; exec sleep 60")
            ann, bob = stage.client("ann"), stage.window("bob", *telnet)
            an_evening(ann, bob)
            stage.keep("lobby-client.txt", service=stage.service, ann=ann)
            stage.keep("lobby-telnet.txt", bob=bob)
        finally:
            stage.end()


if __name__ == "__main__":
    main()
