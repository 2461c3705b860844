"""A process beside a test that shares its database: `python -m tests.storage.turn_taker FILE`.

It does what each line on its standard input says, and then writes that line to its output.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from bbs.storage.connecting import connect_to
from bbs.storage.turns import Turn

LONG = 30.0
"""Seconds that it waits for its turn: more than any test takes."""


class TurnTaker:
    """Such a process, from the outside."""

    def __init__(self, file: str) -> None:
        command = [sys.executable, "-m", "tests.storage.turn_taker", file]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, line: str) -> None:
        """Let it do something."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def does(self, line: str) -> None:
        """Let it do something, and wait until it has."""
        self.tell(line)
        self.has_done(line)

    def has_done(self, line: str) -> None:
        """Wait until it has done what it was told."""
        assert self._process.stdout
        said = self._process.stdout.readline().strip()
        if said != line:
            raise AssertionError(f"not {line!r}, but {said!r}")

    def stop(self) -> None:
        """Let it not go on."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()
        self._process.communicate()


def count(file: str, times: int, turn: Turn) -> None:
    """Count up what the file `FILE-count` says, in turns."""
    for _ in range(times):
        if turn.take(LONG):
            with open(f"{file}-count", "r+") as counter:
                number = int(counter.read())
                counter.seek(0)
                counter.write(str(number + 1))
            turn.give_back()


def main(file: str) -> None:
    database: Any = connect_to(f"sqlite:///{file}")
    turn = Turn(file)
    for line in sys.stdin:
        what, _, how = line.strip().partition(" ")
        if what == "take":
            turn.take(LONG)
        elif what == "give-back":
            turn.give_back()
        elif what == "count":
            count(file, int(how), turn)
        elif what == "begin":
            database.connect()
            database.begin()
            database.execute_sql("INSERT INTO contract_entry (name) VALUES ('theirs')")
        elif what == "commit":
            database.commit()
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
