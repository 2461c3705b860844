"""Calls of the EC2 API over real sockets, to a peer that answers as it should not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import partial
from typing import Any

from botocore.credentials import Credentials
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.logger import capturedLogs
from twisted.protocols.portforward import ProxyFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from bbs.config import EC2
from bbs.scaling.ec2.client import TRIES, Api, EC2Client
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.transport import LONGEST
from tests.certificates import certificate

reactor: Any = installed

RUN = {"MinCount": 1, "MaxCount": 1, "ClientToken": "token", "ImageId": "ami-1"}

NOTHING = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"

DAY = 86400.0

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()

Reply = Callable[["Connection"], None]


def http(body: str | bytes, status: int = 200, *headers: str) -> Reply:
    """An answer."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(data)}", *headers]
    return raw("\r\n".join([*lines, "", ""]).encode() + data)


def error(code: str, status: int = 400, *headers: str) -> Reply:
    """An error as EC2 answers it."""
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>because</Message></Error></Errors>"
    )
    return http(body + "<RequestID>r</RequestID></Response>", status, *headers)


def raw(data: bytes, ends: bool = False) -> Reply:
    """Bytes, and then the end of the connection, if that is said."""

    def reply(connection: Connection) -> None:
        connection.transport.write(data)
        if ends:
            connection.transport.loseConnection()

    return reply


def hang(connection: Connection) -> None:
    """Never an answer."""


def hang_up(connection: Connection) -> None:
    """No answer, and no connection either."""
    connection.transport.abortConnection()


class Connection(Protocol):
    """A connection to the peer."""

    transport: Any
    peer: Peer

    def __init__(self) -> None:
        self.data = b""

    def connectionMade(self) -> None:
        self.peer.open.add(self)
        self.peer.connections += 1

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not end or len(body) < int(length[1] if length else 0):
            self.peer.look()
            return
        self.data = b""
        self.peer.requests.append((head + end + body).decode("latin-1"))
        (self.peer.replies.pop(0) if self.peer.replies else self.peer.last)(self)
        self.peer.look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.peer.open.discard(self)
        self.peer.look()


class Peer(Factory):
    """Answers requests with `replies` in turn, and then always with the last."""

    protocol = Connection
    noisy = False

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies[:-1])
        self.last = replies[-1]
        self.requests: list[str] = []
        self.connections = 0
        self.open: set[Connection] = set()
        self.waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def buildProtocol(self, addr: Any) -> Connection:
        connection = Connection()
        connection.peer = self
        return connection

    def until(self, holds: Callable[[], bool]) -> Deferred[None]:
        """Fires when that holds."""
        done: Deferred[None] = Deferred()
        self.waiting.append((holds, done))
        self.look()
        return done

    def look(self) -> None:
        for each in [each for each in self.waiting if each[0]()]:
            self.waiting.remove(each)
            each[1].callback(None)

    def has_asked(self, number: int) -> bool:
        """Whether so many requests have come."""
        return len(self.requests) >= number

    def keys(self) -> list[str]:
        """The access key of each request."""
        return re.findall(r"Credential=(\w+)/", "".join(self.requests))


class WireCase(TestCase):
    """A peer, and clients of it."""

    timeout = 300
    scheme = "http"

    def setUp(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not re.match(r"AWS_|\w+_proxy$", k, re.I)}
        bare = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        self.patch(os, "environ", environ | bare)

    def listening(self, factory: Factory) -> int:
        """The port where it listens."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def peer(self, *replies: Reply) -> Peer:
        self._peer = Peer(*replies)
        self.port = self.listening(self._peer)
        return self._peer

    def api(self, *keys: str, url: str = "", wall: Callable[[], float] | None = None) -> Api:
        """The API with credentials that are found in turn; with those of the machine, if none are
        said. It does not run."""
        found = [Credentials(key, "secret-of-the-tests") for key in keys]
        config = EC2(
            region="us-east-1", endpoint_url=url or f"{self.scheme}://127.0.0.1:{self.port}"
        )
        options: dict[str, Any] = {"find": lambda: found.pop(0)} if keys else {}
        if wall:
            options["wall"] = wall
        return Api(reactor, config, **options)

    def client(self, *keys: str, **options: Any) -> EC2Client:
        """A client of it, which runs."""
        made = EC2Client(reactor, self.api(*keys, **options), jitter=lambda: 0.1)
        made.startService()
        self.addCleanup(made.stopService)
        return made

    def once(self, action: str = "DescribeInstances", **parameters: Any) -> Deferred[Any]:
        """A call that is asked once, whatever comes of it."""
        api = self.api("a")
        api.startService()
        self.addCleanup(api.stopService)
        return api.ready(action).addCallback(lambda _: api.ask(action, parameters))

    async def refused(self, call: Deferred[Any]) -> EC2Error:
        try:
            answer = await call
        except EC2Error as error:
            return error
        raise self.failureException(f"answered {answer}")


class Connections(WireCase):
    """Connections are kept, and closed."""

    async def test_kept(self) -> None:
        peer = self.peer(http(NOTHING))
        ec2 = self.client("a")
        for _ in range(5):
            self.assertEqual(await ec2.describe_instances(), {"Reservations": []})
        self.assertEqual((len(peer.requests), peer.connections), (5, 1))
        await ec2.stopService()
        await peer.until(lambda: not peer.open)

    async def test_ended_meanwhile(self) -> None:
        """A kept connection that ends under a request: it may have been carried out, so that is
        for us to know. It is asked again, once, under the same token."""
        done = "<RunInstancesResponse><instancesSet/></RunInstancesResponse>"
        peer = self.peer(http(NOTHING), hang_up, http(done))
        ec2 = self.client("a")
        await ec2.describe_instances()
        self.assertEqual(await ec2.run_instances(**RUN), {"Instances": []})
        self.assertEqual(len(peer.requests), 3)
        tokens = re.findall(r"ClientToken=(\w+)", "".join(peer.requests))
        self.assertEqual(tokens, ["token", "token"])

    async def test_not_sent_twice_by_itself(self) -> None:
        """What nobody may try again is sent once."""
        peer = self.peer(http(NOTHING), hang_up)
        api = self.api("a")
        api.startService()
        self.addCleanup(api.stopService)
        await api.ready("RunInstances")
        await api.ask("DescribeInstances", {})
        error = await self.refused(api.ask("RunInstances", RUN))
        self.assertTrue(error.doubtful)
        self.assertEqual((len(peer.requests), peer.connections), (2, 1))

    async def test_cancel(self) -> None:
        """Calls that hang and are given up: their connections are closed at once."""
        peer = self.peer(hang)
        ec2 = self.client("a")
        calls = [ec2.run_instances(**RUN) for _ in range(4)]
        await peer.until(lambda: len(peer.requests) == 4)
        for call in calls:
            call.cancel()
        for call in calls:
            await self.assertFailure(call, CancelledError)
        await peer.until(lambda: not peer.open)

    async def test_cancel_in_the_answer(self) -> None:
        peer = self.peer(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<Describe"))
        call = self.client("a").describe_instances()
        await peer.until(lambda: len(peer.requests) == 1)
        reactor.callLater(0.05, call.cancel)
        await self.assertFailure(call, CancelledError)
        await peer.until(lambda: not peer.open)

    async def test_stop(self) -> None:
        peer = self.peer(hang)
        ec2 = self.client("a")
        calls = [ec2.describe_instances() for _ in range(20)]
        await peer.until(lambda: len(peer.requests) == 20)
        ended = [self.assertFailure(call, CancelledError) for call in calls]
        await ec2.stopService()
        await gatherResults(ended)
        await peer.until(lambda: not peer.open)

    async def test_given_up(self) -> None:
        """Tries that are given up, before an answer or in the middle of one, as a client does with
        what is late: each has a connection of its own, which is closed."""
        slow = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<Describe")
        peer = self.peer(hang, slow, http(NOTHING))
        api = self.api("a")
        api.startService()
        self.addCleanup(api.stopService)
        await api.ready("DescribeInstances")
        for number in (1, 2):
            late = api.ask("DescribeInstances", {})
            await peer.until(partial(peer.has_asked, number))
            await self.assertFailure(late.addTimeout(0.05, reactor), TimeoutError)
        await api.ask("DescribeInstances", {})
        self.assertEqual((len(peer.requests), peer.connections), (3, 3))
        await peer.until(lambda: len(peer.open) == 1)

    async def test_nobody_there(self) -> None:
        """Nothing was sent, so nothing was carried out."""
        error = await self.refused(self.client("a", url="http://127.0.0.1:9").run_instances(**RUN))
        self.assertIs(error.verdict, Verdict.AGAIN)
        self.assertFalse(error.doubtful)
        self.assertIn("EC2 does not answer RunInstances: ConnectionRefused", str(error))


class BadAnswers(WireCase):
    """Answers that are none of EC2's."""

    async def said(self, reply: Reply, by_client: bool = False) -> EC2Error:
        """What is said of a reply, to a call that is asked once or as a client asks."""
        peer = self.peer(reply)
        call = (
            self.client("a").run_instances(**RUN) if by_client else self.once("RunInstances", **RUN)
        )
        error = await self.refused(call)
        self.assertEqual(len(peer.requests), TRIES if by_client else 1)
        self.assertNotIn("\n", str(error))
        await peer.until(lambda: len(peer.open) <= 1)
        return error

    async def test_no_answers(self) -> None:
        html = "<!DOCTYPE html><html><body>Busy</body></html>"
        for reply, why in (
            (http(""), "Empty"),
            (http("nonsense"), "NoXML"),
            (http(html), "NoXML"),
            (http("<RunInstancesResponse><instancesSet>"), "CutShort"),
            (http(b"\x1f\x8b\x08\x00" * 10, 200, "Content-Encoding: gzip"), "NoXML"),
            (http(html, 404), "HTTP 404"),
            (http("", 301, "Location: http://127.0.0.1:9/"), "HTTP 301"),
            (http("", 307, "Location: /elsewhere"), "HTTP 307"),
            (http("Proxy says no", 407), "HTTP 407"),
            (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<Run", True), "DataLoss"),
            (raw(b"HTTP/1.1 200 OK\r\n\r\n<RunInstancesResponse>", True), "CutShort"),
            (raw(b"SSH-2.0-OpenSSH\r\n", True), "ParseError"),
            (hang_up, "ConnectionLost"),
        ):
            error = await self.said(reply)
            self.assertIs(error.verdict, Verdict.AGAIN, why)
            self.assertTrue(error.doubtful)
            self.assertIn(f"EC2 does not answer RunInstances: {why}", str(error))

    async def test_whole_without_a_length(self) -> None:
        """XML says itself where it ends."""
        self.peer(raw(b"HTTP/1.1 200 OK\r\n\r\n" + NOTHING.encode(), True))
        self.assertEqual(await self.client("a").describe_instances(), {"Reservations": []})

    async def test_in_chunks(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        data = NOTHING.encode()
        chunks = b"".join(b"1\r\n" + data[at : at + 1] + b"\r\n" for at in range(len(data)))
        self.peer(raw(head + chunks + b"0\r\n\r\n"))
        self.assertEqual(await self.client("a").describe_instances(), {"Reservations": []})

    async def test_endless(self) -> None:
        """An answer without end is given up, and its connection closed."""

        def endless(connection: Connection) -> None:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n<RunInstancesResponse>"
            connection.transport.write(head + b" " * LONGEST)

        error = await self.said(endless)
        self.assertIn("TooLong", str(error))
        await self._peer.until(lambda: not self._peer.open)

    async def test_unavailable(self) -> None:
        """Without a body, or with one of somebody else's: asked again, and then said."""
        for body in ("", "<html><body>Service Unavailable</body></html>", "nonsense"):
            error = await self.said(http(body, 503), by_client=True)
            self.assertIs(error.verdict, Verdict.AGAIN)
            self.assertIn("HTTP 503", str(error))
        self.assertIn("HTTP 500", str(await self.said(http("", 500), by_client=True)))

    async def test_errors(self) -> None:
        refused = await self.said(error("InvalidAMIID.NotFound"))
        self.assertIs(refused.verdict, Verdict.REFUSED)
        self.assertIn("InvalidAMIID.NotFound: because; correct [ec2]", str(refused))
        capacity = await self.said(error("InsufficientInstanceCapacity", 500))
        self.assertIs(capacity.verdict, Verdict.ELSEWHERE)


class Signatures(WireCase):
    """Credentials that EC2 refuses."""

    async def test_fetched_anew(self) -> None:
        """At once, and the call is made once more."""
        for code in ("ExpiredToken", "RequestExpired", "AuthFailure", "InvalidClientTokenId"):
            peer = self.peer(error(code, 400), http(NOTHING))
            ec2 = self.client("old", "new")
            self.assertEqual(await ec2.describe_instances(), {"Reservations": []})
            self.assertEqual(peer.keys(), ["old", "new"])
            await ec2.describe_instances()
            self.assertEqual(peer.keys(), ["old", "new", "new"])

    async def test_many_at_once(self) -> None:
        """Who is refused with the same asks for new ones together."""

        def by_key(connection: Connection) -> None:
            reply = error("ExpiredToken") if peer.keys()[-1] == "old" else http(NOTHING)
            reply(connection)

        peer = self.peer(by_key)
        api = self.api("old", "new")
        api.startService()
        self.addCleanup(api.stopService)
        await api.ready("DescribeInstances")
        await gatherResults([api.ask("DescribeInstances", {}) for _ in range(5)])
        self.assertEqual(peer.keys().count("new"), 5)

    async def test_once(self) -> None:
        """New ones that are refused too are said; the same ones are not sent again."""
        peer = self.peer(error("AuthFailure", 401))
        said = await self.refused(self.client("a", "b").describe_instances())
        self.assertEqual(peer.keys(), ["a", "b"])
        self.assertIs(said.verdict, Verdict.REFUSED)
        self.assertIn("give the login server credentials", str(said))
        peer = self.peer(error("AuthFailure", 401))
        await self.refused(self.client("a", "a").describe_instances())
        self.assertEqual(peer.keys(), ["a"])

    async def test_no_date(self) -> None:
        for header in ("X-Other: x", "Date: nonsense"):
            self.peer(error("RequestExpired", 403, header))
            refused = await self.refused(self.client("a", "a").describe_instances())
            self.assertIn("set this machine's clock", str(refused))

    async def test_none(self) -> None:
        """A machine without any."""
        self.patch(os, "environ", os.environ | {"AWS_EC2_METADATA_DISABLED": "true"})
        peer = self.peer(http(NOTHING))
        refused = await self.refused(self.client().run_instances(**RUN))
        self.assertIn("NoCredentialsError; give the login server credentials", str(refused))
        self.assertFalse(refused.doubtful)
        self.assertEqual(peer.requests, [])

    def instance_profile(self, hours: float) -> None:
        """This machine is an instance with a role, whose keys end in so many hours."""
        names = [f"role{number}" for number in range(9)]
        ends = f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"

        def metadata(connection: Connection) -> None:
            head = self.metadata.requests[-1].split("\r\n")[0]
            if "api/token" in head:
                body = "the-token"
            elif head.split()[1].endswith("security-credentials/"):
                body = "bbs-login"
            else:
                body = (
                    f'{{"Code": "Success", "AccessKeyId": "{names.pop(0)}",'
                    f' "SecretAccessKey": "s", "Token": "t", "Expiration": "{ends}"}}'
                )
            http(body)(connection)
            # botocore would keep it.
            connection.transport.loseConnection()

        self.metadata = Peer(metadata)
        endpoint = f"http://127.0.0.1:{self.listening(self.metadata)}"
        self.patch(os, "environ", os.environ | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint})

    async def test_instance_profile(self) -> None:
        """Those of an instance's role, by IMDSv2; asked for anew when EC2 refuses them."""
        self.instance_profile(hours=6)
        peer = self.peer(http(NOTHING), error("ExpiredToken"), http(NOTHING))
        ec2 = self.client()
        await ec2.describe_instances()
        await ec2.describe_instances()
        self.assertTrue(self.metadata.requests[0].startswith("PUT /latest/api/token"))
        self.assertIn("x-aws-ec2-metadata-token: the-token", self.metadata.requests[-1])
        self.assertEqual(peer.keys(), ["role0", "role0", "role1"])
        self.assertIn("security-token", peer.requests[0].lower())

    async def test_clock_says_that_they_have_expired(self) -> None:
        """A clock that is a day ahead: whether a role's keys are good is for EC2 to say."""
        self.instance_profile(hours=-18)
        self.peer(http(NOTHING))
        ec2 = self.client()
        for _ in range(2):
            self.assertEqual(await ec2.describe_instances(), {"Reservations": []})


class Clocks(WireCase):
    """Clocks that differ: this machine's, and that of a peer that looks when calls were signed."""

    code = "RequestExpired"

    def setUp(self) -> None:
        super().setUp()
        self.here = self.there = NOON
        logs = capturedLogs()
        events = logs.__enter__()
        self.events: Sequence[Any] = events
        self.addCleanup(logs.__exit__, None, None, None)

    def told(self) -> list[str]:
        """What operators are told of clocks."""
        lines = [str(each.get("what", "")) for each in self.events]
        return [line for line in lines if "clock" in line]

    def by_clock(self, *refused: str) -> Peer:
        """A peer that refuses what was signed five minutes before its own time or after it, and
        the `refused` keys."""

        def answer(connection: Connection) -> None:
            signed = self.signed()[-1]
            date = f"Date: {formatdate(self.there, usegmt=True)}"
            good = abs(signed - self.there) <= 300 and peer.keys()[-1] not in refused
            (http(NOTHING) if good else error(self.code, 403, date))(connection)

        peer = self.peer(answer)
        return peer

    def signed(self) -> list[float]:
        """When the requests were signed, as they say."""
        dates = re.findall(r"(?i)x-amz-date: (\w+)", "".join(self._peer.requests))
        return [datetime.strptime(f"{each}+0000", "%Y%m%dT%H%M%SZ%z").timestamp() for each in dates]

    def here_clock(self) -> float:
        return self.here

    async def test_wrong(self) -> None:
        """What was refused for it is signed anew, once, and what comes then is not refused; the
        operator is told in one line by how much it is wrong."""
        for self.code in ("AuthFailure", "RequestExpired", "SignatureDoesNotMatch"):
            for ahead, said in (
                (DAY, "24 h behind"),
                (-DAY, "24 h ahead of"),
                (400.0, "7 min behind"),
            ):
                self.there = self.here + ahead
                before = len(self.told())
                peer = self.by_clock()
                ec2 = self.client("a", "b", wall=self.here_clock)
                for _ in range(3):
                    self.assertEqual(await ec2.describe_instances(), {"Reservations": []})
                self.assertEqual(self.signed(), [self.here, *[self.there] * 3])
                self.assertEqual(set(peer.keys()), {"a"})
                (line,) = self.told()[before:]
                self.assertIn(f"this machine's clock is {said} EC2's", line)
                self.assertIn("set this machine's clock", line)

    async def test_together(self) -> None:
        """Calls that are refused at once say so once."""
        self.there = self.here + DAY
        peer = self.by_clock()
        api = self.api("a", wall=self.here_clock)
        api.startService()
        self.addCleanup(api.stopService)
        await api.ready("DescribeInstances")
        await gatherResults([api.ask("DescribeInstances", {}) for _ in range(5)])
        self.assertEqual((len(peer.requests), len(self.told())), (10, 1))

    async def test_jumps(self) -> None:
        """It is set while the machine runs, or right again."""
        self.by_clock()
        ec2 = self.client("a", wall=self.here_clock)
        await ec2.describe_instances()
        for self.here in (NOON + DAY, NOON - DAY, NOON):
            await ec2.describe_instances()
            await ec2.describe_instances()
        self.assertEqual(len(self._peer.requests), 1 + 3 * 3)
        ahead, behind, right = self.told()
        self.assertIn("24 h ahead of", ahead)
        self.assertIn("24 h behind", behind)
        self.assertEqual(right, "this machine's clock agrees with EC2's again")

    async def test_keys_have_expired_as_well(self) -> None:
        """Then new ones are fetched, which are signed with by EC2's clock."""
        self.there = self.here + DAY
        peer = self.by_clock("old")
        ec2 = self.client("old", "new", wall=self.here_clock)
        await ec2.describe_instances()
        self.assertEqual(peer.keys(), ["old", "old", "new"])

    async def test_not_the_clock(self) -> None:
        """Signed by EC2's clock and refused all the same: the credentials are wrong."""
        self.there = self.here + DAY
        peer = self.by_clock("a")
        ec2 = self.client("a", "a", wall=self.here_clock)
        refused = await self.refused(ec2.describe_instances())
        self.assertIn("give the login server credentials", str(refused))
        self.assertEqual(peer.keys(), ["a", "a"])

    async def test_keeps_running_away(self) -> None:
        """A peer whose time is another in each answer gets two requests, and no more."""

        def answer(connection: Connection) -> None:
            self.there += DAY
            date = f"Date: {formatdate(self.there, usegmt=True)}"
            error(self.code, 403, date)(connection)

        peer = self.peer(answer)
        refused = await self.refused(self.client("a", wall=self.here_clock).describe_instances())
        self.assertIn("this machine's clock is 24 h behind EC2's", str(refused))
        self.assertEqual(len(peer.requests), 2)


class SecureCase(WireCase):
    """A peer by TLS, and an authority that signs for it."""

    scheme = "https"

    def setUp(self) -> None:
        super().setUp()
        self.authority = certificate(self.mktemp(), ["authority"])
        bundle = {"AWS_CA_BUNDLE": self.authority.path}
        self.patch(os, "environ", os.environ | bundle)

    def secure_peer(self, names: Sequence[str] = ("127.0.0.1",), **options: Any) -> Peer:
        signed = certificate(self.mktemp(), names, by=self.authority, **options)
        with open(signed.path, "rb") as file:
            own = PrivateCertificate.loadPEM(file.read())
        peer = self._peer = Peer(http(NOTHING))
        port = reactor.listenSSL(0, peer, own.options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        return peer


class Secure(SecureCase):
    """TLS."""

    async def test_trusted(self) -> None:
        peer = self.secure_peer()
        ec2 = self.client("a")
        for _ in range(3):
            await ec2.describe_instances()
        self.assertEqual((len(peer.requests), peer.connections), (3, 1))
        await ec2.stopService()
        await peer.until(lambda: not peer.open)

    async def test_cancel_in_the_answer(self) -> None:
        """The connection ends, and waits for no goodbye of the peer's."""
        peer = self.secure_peer()
        peer.last = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<Describe")
        call = self.client("a").describe_instances()
        await peer.until(lambda: len(peer.requests) == 1)
        (connection,) = peer.open
        connection.transport.pauseProducing()
        reactor.callLater(0.05, call.cancel)
        await self.assertFailure(call, CancelledError)
        connection.transport.resumeProducing()
        await peer.until(lambda: not peer.open)

    async def not_trusted(self, peer: Peer, why: str) -> None:
        error = await self.refused(self.client("a").describe_instances())
        self.assertRegex(str(error), f"EC2 does not answer DescribeInstances: TLS: {why}")
        self.assertEqual(peer.requests, [])

    async def test_unknown_authority(self) -> None:
        peer = self.secure_peer()
        self.patch(os, "environ", {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"})
        await self.not_trusted(peer, "certificate verify failed")

    async def test_another_name(self) -> None:
        await self.not_trusted(self.secure_peer(["ec2.example"]), "")

    async def test_expired(self) -> None:
        await self.not_trusted(self.secure_peer(ends=-1), "certificate verify failed")

    async def test_plain_peer(self) -> None:
        """What answers without TLS gets no request."""
        peer = self.peer(http(NOTHING))
        call = self.once()
        await peer.until(lambda: any(connection.data for connection in peer.open))
        call.cancel()
        await self.assertFailure(call, CancelledError)
        await peer.until(lambda: not peer.open)
        self.assertEqual(peer.requests, [])


class Proxies(SecureCase):
    """HTTPS_PROXY."""

    def proxy(self, *replies: Reply) -> Peer:
        proxy = Peer(*replies)
        url = f"http://who:hunter2@127.0.0.1:{self.listening(proxy)}"
        self.patch(os, "environ", os.environ | {"HTTPS_PROXY": url})
        return proxy

    async def test_through(self) -> None:
        """The endpoint's certificate is verified behind the proxy, which is told who asks."""
        peer = self.secure_peer()

        def let_through(connection: Connection) -> None:
            forward: Any = ProxyFactory("127.0.0.1", self.port).buildProtocol(None)
            forward.makeConnection(connection.transport)
            connection.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            connection.dataReceived = forward.dataReceived  # type: ignore[method-assign]

        proxy = self.proxy(let_through)
        ec2 = self.client("a")
        for _ in range(3):
            await ec2.describe_instances()
        self.assertEqual((len(peer.requests), len(proxy.requests)), (3, 1))
        self.assertIn(f"CONNECT 127.0.0.1:{self.port} HTTP/1.1\r\n", proxy.requests[0])
        self.assertIn("Proxy-Authorization: Basic", proxy.requests[0])

    async def refused_by(self, *replies: Reply) -> EC2Error:
        peer = self.secure_peer()
        proxy = self.proxy(*replies)
        error = await self.refused(self.once("RunInstances", **RUN))
        self.assertEqual(peer.connections, 0)
        self.assertNotIn("hunter2", str(error))
        await proxy.until(lambda: not proxy.open)
        return error

    async def test_refuses(self) -> None:
        for reply in (
            http("", 403),
            http("", 407),
            raw(b"nonsense\r\n\r\n"),
            raw(b"HTTP/1.1 200 " + b"x" * 20000),
        ):
            self.assertIn("ProxyRefuses", str(await self.refused_by(reply)))
        self.assertIn("ConnectionLost", str(await self.refused_by(hang_up)))

    async def test_hangs(self) -> None:
        """A call that is given up meanwhile closes its connection."""
        peer = self.secure_peer()
        proxy = self.proxy(hang)
        call = self.once("RunInstances", **RUN)
        await proxy.until(lambda: len(proxy.requests) == 1)
        call.cancel()
        await self.assertFailure(call, CancelledError)
        await proxy.until(lambda: not proxy.open)
        self.assertEqual(peer.connections, 0)
