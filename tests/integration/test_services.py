"""The tests' own servers: what a test that kills them may count on."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests import services
from tests.services import OwnActiveMQ, OwnMariaDB, OwnServer


class Own(TestCase):
    """Each comes back after it was killed, as what it was."""

    timeout = 300

    async def check(self, own: OwnServer) -> None:
        self.addCleanup(own.remove)
        url = own.url
        self.assertFalse(own.server.answers())
        await own.start()
        first = own.server.pid
        self.assertTrue(own.server.answers())
        await own.start()  # which changes nothing
        self.assertEqual(own.server.pid, first)
        await own.kill()
        self.assertFalse(own.server.answers())
        self.assertIsNone(own.server.pid)
        await own.start()
        self.assertNotEqual(own.server.pid, first)
        self.assertEqual(own.url, url)
        await own.stop()
        self.assertIsNone(own.server.pid)

    def test_mariadb(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check(OwnMariaDB()))

    def test_activemq(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check(OwnActiveMQ()))

    async def test_that_does_not_start(self) -> None:
        """Its log says why, and nothing of it stays."""
        own = OwnMariaDB()
        self.addCleanup(own.remove)
        own.server.prepare()
        (own.server.folder / "data/ibdata1").write_text("no database")
        with self.assertRaises(services.ServerFailed) as failed:
            await own.start()
        self.assertIn("did not start", str(failed.exception))
        self.assertIsNone(own.server.pid)
