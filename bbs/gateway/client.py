"""The gateway's client: that the login server does not believe it is the operator's affair."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.client.library import BBSClient
from bbs.client.values import NotTrusted, Reply
from bbs.errors import Unavailable


class GatewayClient(BBSClient):
    """The service for one person at the gateway."""

    _log = Logger()

    def request(self, line: str) -> Deferred[Reply]:
        """As any client's, but where that fails with `NotTrusted` the log has why, and the reply
        is that the service is not available."""
        return BBSClient.request(self, line).addErrback(self._not_trusted)

    def _not_trusted(self, failure: Failure) -> Reply:
        failure.trap(NotTrusted)
        self._log.critical("telnet.secret is wrong: {problem}", problem=str(failure.value))
        return Reply({"status": 1, "message": Unavailable().message})
