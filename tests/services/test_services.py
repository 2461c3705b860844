"""Where the shared servers are."""

import os
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import services


class Environment(SynchronousTestCase):
    def test_needed(self) -> None:
        with mock.patch.dict(os.environ, {"BBS_TEST_SOME_URL": "stomp://here"}):
            self.assertEqual(services.needed("BBS_TEST_SOME_URL"), "stomp://here")
        self.assertRaises(SkipTest, services.needed, "BBS_TEST_SOME_URL")
