"""A process beside a test that takes turns on its database, or writes to it."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Any

from bbs.storage.engines import connect_to
from bbs.storage.sqlite import WriterLock
from tests.storage.processes import PATIENCE, Beside


class TurnTaker(Beside):
    """It does what it is told, one thing after the other, and then says so."""

    def __init__(self, file: str) -> None:
        super().__init__(_take_turns, file)

    def does(self, word: str) -> None:
        """Let it do something, and wait until it has."""
        self.tell(word)
        self.has_done(word)

    def has_done(self, word: str) -> None:
        """Wait until it has done what it was told."""
        if (said := self.says()) != word:
            raise AssertionError(f"not {word!r}, but {said!r}")


def count(file: str, times: int, turn: WriterLock) -> None:
    """Count up what the file `FILE-count` says, in turns."""
    for _ in range(times):
        if turn.take(PATIENCE):
            with open(f"{file}-count", "r+") as counter:
                number = int(counter.read())
                counter.seek(0)
                counter.write(str(number + 1))
            turn.give_back()


def _take_turns(file: str, test: Connection) -> None:
    database: Any = connect_to(f"sqlite:///{file}")
    turn = WriterLock(file)
    while True:
        word = test.recv()
        what, _, how = word.partition(" ")
        if what == "take":
            turn.take(PATIENCE)
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
        test.send(word)
