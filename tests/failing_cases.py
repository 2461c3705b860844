"""Tests that fail, as `tests/test_run.py` needs them: `BBS_TEST_FAILED` is a folder where they note
that they have."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.python import log
from twisted.trial.unittest import SkipTest, SynchronousTestCase


class FailingCase(SynchronousTestCase):
    def fail_once(self) -> None:
        """Fail, unless this test has failed before."""
        marker = Path(os.environ["BBS_TEST_FAILED"], self.id())
        log.msg(f"its {'second' if marker.exists() else 'first'} run")
        if not marker.exists():
            marker.touch()
            self.fail("too slow")


class Chancy(FailingCase):
    def test_fails_once(self) -> None:
        self.fail_once()

    def test_is_skipped_the_second_time(self) -> None:
        self.fail_once()
        raise SkipTest("its server is gone")

    def test_fails_always(self) -> None:
        log.msg("as ever")
        self.fail("broken")

    def test_passes(self) -> None:
        pass


class Guard(FailingCase):
    deterministic = True

    def test_fails_once(self) -> None:
        self.fail_once()
