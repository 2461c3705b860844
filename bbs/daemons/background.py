"""What `twistd` in the background ends with: 0 once its service has started, else 1.

twistd's own parent process waits until the child's services have been told to start. Ours start
after that, one part after the other, so the parent would say that all is well before they listen.
Here it waits for what the daemon itself has to say, by a pipe of its own. It begins to wait behind
the fork that is twistd's (`os.register_at_fork`), so nothing of twistd has to be replaced.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.daemons.daemon import Daemon

BEGUN = b"+"
"""What is said first, when the services have been told to start."""

STARTED = b"0"

ENDED = "ended before it had started; its log has more"


class Word:
    """What a daemon has to say to the process that started it, if that is another.

    It is made before twistd forks; `name` is the daemon's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._parent = os.getpid()
        self._from, self._to = os.pipe()
        os.register_at_fork(after_in_parent=self._forked)

    def begun(self) -> None:
        """The daemon has been told to start."""
        os.close(self._from)
        self._say(BEGUN)

    def started(self) -> None:
        """The daemon has started."""
        self._say(STARTED)
        self._close()

    def failed(self, reason: str) -> None:
        """The daemon has not started, for a reason in one line; the parent is told all of it when
        this process has ended."""
        self._say(f"1{reason}".encode())

    def _say(self, word: bytes) -> None:
        if self._to >= 0 and os.getpid() != self._parent:
            try:
                os.write(self._to, word)
            except OSError:
                self._close()  # Nobody waits any more.

    def _close(self) -> None:
        os.close(self._to)
        self._to = -1

    # In the process that waits

    def _forked(self) -> None:
        if os.getpid() != self._parent:
            return  # The process between, or a daemon that runs something.
        os.close(self._to)
        said = b""
        while not said.endswith(BEGUN + STARTED) and (piece := os.read(self._from, 4096)):
            said += piece
        if said == BEGUN + STARTED:
            os._exit(0)
        if not said.startswith(BEGUN):
            os.close(self._from)
            return  # It got no further than twistd, which says so itself.
        reason = said[len(BEGUN) + 1 :].decode("utf-8", "replace")
        print(reason or f"{self._name}: {ENDED}", file=sys.__stderr__, flush=True)
        os._exit(1)


def tell_parent(daemon: Daemon) -> None:
    """Have `daemon` say how its start went to the process that twistd forks it from."""
    word = Word(str(daemon.name))
    daemon.when_begun = word.begun
    # Not before twistd has told that process something itself, which else would be gone.
    daemon.when_started = lambda: daemon.reactor.callLater(0, word.started)
    on_failure = daemon.on_failure

    def fail(reason: str) -> None:
        word.failed(reason)
        on_failure(reason)

    daemon.on_failure = fail
