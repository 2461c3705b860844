"""Who has a place comes before who logs in: passwords are hashed by threads that stand back."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SkipTest

from bbs.core.threads import NICENESS
from bbs.limits.password_hashing import threads
from tests.integration.service import ServiceCase, together


def priorities(pid: int) -> Counter[int]:
    """How many threads of the process have which nice value."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return Counter(os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks)


class Priorities(ServiceCase):
    async def test_hashing_stands_back(self) -> None:
        """On as many threads as there are cores; and nothing else does, no app server either."""
        if sys.platform != "linux":
            raise SkipTest("here a thread has no priority of its own")
        service = self.service(fleet={"minimum": 1})
        up = await service.up()
        names = [f"person{number}" for number in range(2 * threads())]
        await service.register(*names)
        await together(map(service.person, names))
        usual = os.getpriority(os.PRIO_PROCESS, up.pid)
        found = priorities(up.pid)
        self.assertEqual(found.pop(min(usual + NICENESS, 19)), threads())
        self.assertEqual([*found], [usual])
        for child in up.children():
            self.assertEqual([*priorities(child)], [usual])
