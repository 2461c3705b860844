"""The credentials that calls of EC2 are signed with."""

from __future__ import annotations

from typing import Any

from botocore.credentials import Credentials as Static
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2.client import EARLY, LATE, Credentials
from tests.scaling.ec2.tools import Threads


class Expiring:
    """Credentials that expire; botocore's renew themselves when they are asked for."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.remaining = 10_000.0
        self.error: Exception | None = None

    def refresh_needed(self, within: float) -> bool:
        return self.remaining < within

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if self.error:
            raise self.error
        return ReadOnlyCredentials(self.keys.pop(0), "secret", "token")


class CredentialsCase(SynchronousTestCase):
    """Credentials, found on a thread that the test runs."""

    def setUp(self) -> None:
        self.thread = Threads("ec2")
        self.thread.eager = True
        self.found: list[Any] = []
        self.asked = 0
        self.credentials = Credentials(self.thread, self.find)  # type: ignore[arg-type]

    def find(self) -> Any:
        self.asked += 1
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def current(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.credentials.current())

    def anew(self, refused: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.credentials.renew(refused))

    def key(self, call: Deferred[Any]) -> str:
        return str(self.successResultOf(call).access_key)


class Found(CredentialsCase):
    """Credentials that do not expire."""

    def test_once(self) -> None:
        self.found = [Static("a", "secret")]
        for _ in range(3):
            self.assertEqual(self.key(self.current()), "a")
        self.assertEqual(self.asked, 1)

    def test_together(self) -> None:
        """Who asks at once asks once; to give up ends nothing for the others."""
        self.thread.eager = False
        self.found = [Static("a", "secret")]
        calls = [self.current() for _ in range(3)]
        calls[0].cancel()
        self.failureResultOf(calls[0])
        self.assertEqual(len(self.thread.jobs), 1)
        self.thread.finish()
        self.assertEqual([self.key(call) for call in calls[1:]], ["a", "a"])

    def test_none(self) -> None:
        """The next call asks again."""
        self.found = [CredentialRetrievalError(provider="p", error_msg="m"), Static("a", "s")]
        self.failureResultOf(self.current(), CredentialRetrievalError)
        self.assertEqual(self.key(self.current()), "a")

    def test_refused(self) -> None:
        """The chain is asked anew, once for all who were refused with the same."""
        self.found = [Static("a", "secret"), Static("b", "secret")]
        old = self.successResultOf(self.current())
        for _ in range(3):
            self.assertEqual(self.key(self.anew(old)), "b")
        self.assertEqual(self.key(self.current()), "b")
        self.assertEqual(self.asked, 2)

    def test_refused_and_no_others(self) -> None:
        self.found = [Static("a", "secret"), Static("a", "secret")]
        old = self.successResultOf(self.current())
        self.assertEqual(self.successResultOf(self.anew(old)), old)


class Renewed(CredentialsCase):
    """Credentials that expire."""

    def setUp(self) -> None:
        super().setUp()
        self.source = Expiring("a", "b", "c")
        self.found = [self.source]
        self.assertEqual(self.key(self.current()), "a")

    def test_early(self) -> None:
        """Calls go on with the old ones while new ones are fetched, once."""
        self.source.remaining = EARLY - 1
        self.thread.eager = False
        self.assertEqual([self.key(self.current()) for _ in range(3)], ["a"] * 3)
        self.assertEqual(len(self.thread.jobs), 1)
        self.thread.finish()
        self.source.remaining = EARLY + 1
        self.assertEqual(self.key(self.current()), "b")
        self.assertEqual(self.asked, 1)

    def test_early_and_away(self) -> None:
        """Where they cannot be fetched yet, the old ones serve as long as they are good."""
        self.source.remaining = EARLY - 1
        self.source.error = CredentialRetrievalError(provider="p", error_msg="hunter2")
        for _ in range(3):
            self.assertEqual(self.key(self.current()), "a")
        self.source.error = None
        self.assertEqual(self.key(self.current()), "b")

    def test_late(self) -> None:
        """Calls wait for new ones when the old ones are about to end."""
        self.source.remaining = LATE - 1
        self.thread.eager = False
        call = self.current()
        self.assertNoResult(call)
        self.thread.finish()
        self.assertEqual(self.key(call), "b")

    def test_late_and_away(self) -> None:
        """Then there are none, and the next call asks the whole chain."""
        self.source.remaining = 0
        self.source.error = CredentialRetrievalError(provider="p", error_msg="m")
        self.failureResultOf(self.current(), CredentialRetrievalError)
        self.found = [Static("other", "secret")]
        self.assertEqual(self.key(self.current()), "other")
