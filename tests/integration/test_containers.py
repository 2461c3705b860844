"""`deploy/compose`, run by Compose and podman."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.integration.containers.podman import CHECKOUT
from tests.integration.service import Process, ServiceCase

PATIENCE = 400.0
"""Seconds for all of it, on a machine that has much else to do."""


class Containers(ServiceCase):
    timeout = 460

    async def test_conversation(self) -> None:
        """Up, two people talk, their app server is killed and the next one replaced, down."""
        folder = Path(self.mktemp())
        folder.mkdir()
        argv = (sys.executable, "-m", "tests.integration.containers")
        process = Process(argv, folder, environ={"PYTHONPATH": str(CHECKOUT)})
        self.addCleanup(process.end, signal.SIGTERM, PATIENCE)
        await process.ended(PATIENCE)
        self.assertEqual((process.exit_code, process.errors), (0, ""), process.output)
        self.assertTrue(process.output.endswith("nothing is left\n"), process.output)
