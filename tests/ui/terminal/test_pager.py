"""A pager of somebody's own, as a process."""

from __future__ import annotations

import asyncio
import os

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.terminal.pager import Failed, Pager


class PagerTests(SynchronousTestCase):
    def test_what_it_says(self) -> None:
        asyncio.run(Pager("exec cat >/dev/null", os.environ).show("text"))
        with self.assertRaisesRegex(Failed, "exit code 3"):
            asyncio.run(Pager("cat >/dev/null; exit 3", os.environ).show("text"))

    def test_ended_while_it_begins(self) -> None:
        """The client ends before it knows of the process that it has started."""

        async def scenario() -> None:
            pager = Pager("exec sleep 100", os.environ)
            showing = asyncio.ensure_future(pager.show("text"))
            await asyncio.sleep(0)
            pager.end()
            await asyncio.wait_for(showing, 50)

        asyncio.run(scenario())
