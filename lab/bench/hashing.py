"""What hashing passwords takes by itself: the yardstick of `register` and `login`.

    python -m lab.bench.hashing      # jobs on standard input, results on standard output

A job `{"threads": 2, "seconds": 0.4}` hashes one password after another on so many threads, with
the parameters of the service. Its result: `{"rate": …, "cpu": …}`, hashes a second, and µs of
processor time for each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bbs.limits.password_hashing import OWASP

PASSWORD = "correct-horse-battery-staple"


def hashing(until: float) -> int:
    """Hash until that moment; returns how many."""
    done = 0
    while not done or time.perf_counter() < until:
        OWASP.hash(PASSWORD)
        done += 1
    return done


def measure(threads: int, seconds: float) -> dict[str, float]:
    with ThreadPoolExecutor(threads) as pool:
        began, used = time.perf_counter(), time.process_time()
        done = sum(pool.map(hashing, [began + seconds] * threads))
        taken, used = time.perf_counter() - began, time.process_time() - used
    return {"rate": done / taken, "cpu": used / done * 1e6}


def main() -> None:
    # The first ones pay for the memory, which is kept.
    measure(threads=os.cpu_count() or 1, seconds=0.1)
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
