"""What a line in a server's log costs the processor: twistd's text, our text, and JSON.

    python -m lab.bench.log_lines [ROUNDS]

Each round writes the same events in each way, one way after the other, to a file that keeps
nothing. The figure of a way is the median of its rounds, and its ratio that of the pairs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from twisted.logger import FileLogObserver, Logger, LogPublisher, textFileLogObserver

from bbs.daemons.logs import Speaker, written_as

LINES = 2000
"""In a round, of each way."""

SPEAKER = Speaker("bbs", "login", "1f57b8f0c3f8d7e47f0cd9ec25f3f96e")


def ways(file: Any) -> dict[str, Callable[[Any], None]]:
    """What writes a log to `file`."""
    return {
        "twistd's text": textFileLogObserver(file),
        "text": FileLogObserver(file, written_as("text", lambda: SPEAKER)),
        "json": FileLogObserver(file, written_as("json", lambda: SPEAKER)),
    }


def seconds_of(observer: Any) -> float:
    """What a line takes of the processor's time, from the logger on."""
    log = Logger("bbs.scaling.planner", observer=LogPublisher(observer))
    began = time.process_time()
    for _ in range(LINES):
        log.info("server {server} drains: {reason}", server=SPEAKER.id, reason="it is not needed")
    return (time.process_time() - began) / LINES


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with open(os.devnull, "w") as file:
        made = ways(file)
        for observer in made.values():
            seconds_of(observer)
        took = {name: list[float]() for name in made}
        for _ in range(rounds):
            for name, observer in made.items():
                took[name].append(seconds_of(observer))
    first, *_ = took.values()
    for name, each in took.items():
        ratio = median(one / other for one, other in zip(each, first, strict=True))
        print(f"{name:15} {median(each) * 1e6:6.1f} µs   {ratio:.2f}")


if __name__ == "__main__":
    main()
