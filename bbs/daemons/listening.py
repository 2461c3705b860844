"""Endpoints that servers listen at: with TLS, and behind proxies that say where people are from.

A certificate is in files, or in a secret that the endpoint refers to (`bbs/config/references.py`).
Certificates can be renewed: servers read them again once an hour. Connections that are there keep
theirs. That it ends soon, or has ended, is about the certificate that is served: one in the file
that cannot be used is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, cast

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from bbs.config import ConfigError, Configuration, references
from bbs.config.kinds import is_reference
from bbs.core import audit, certificates
from bbs.core.addresses import ListeningPlace
from bbs.core.clock import IReactor
from bbs.core.values import IEntry
from bbs.limits.connections import Admission
from bbs.limits.handshakes import Handshakes
from bbs.protocols.connection_state import host_of
from bbs.protocols.proxy_protocol import ProxiedFactory

BACKLOG = 1024  # connections that may wait to be accepted; with Twisted's 50, crowds wait seconds

RENEWAL = 3600.0
"""Seconds between looks for a new certificate. Authorities ask to renew days before one ends."""

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_log = Logger()


class CannotListen(Exception):
    """Nothing can listen at a place; one line that says why. `may_pass`: as `SecretUnavailable`
    has it."""

    may_pass = False


class Pems(NamedTuple):
    """The texts of a place's `privateKey`, `certKey` and `extraCertChain`."""

    key: str
    certificate: str
    chain: str


def read_pems(place: ListeningPlace, config: Configuration) -> Pems:
    """What `place` has for TLS. This blocks.

    :raises CannotListen: a file cannot be read, or a secret cannot be had.
    """
    read: dict[str, str] = {"": ""}
    for where in (place.private_key, place.certificate, place.chain):
        if where not in read:
            read[where] = _read(place, where, config)
    return Pems(read[place.private_key], read[place.certificate], read[place.chain])


def _read(place: ListeningPlace, where: str, config: Configuration) -> str:
    try:
        if is_reference(where):
            return references.reveal("listen", [where], config)[0]
        with open(where, encoding="ascii", errors="replace") as file:
            return file.read()
    except ConfigError as error:
        raise _cannot(place, error) from error
    except OSError as error:
        raise _cannot(place, f"{where}: {error.strerror}") from error


@implementer(IOpenSSLServerConnectionCreator)
class Contexts:
    """The TLS of a place: makes each new connection with the certificate that it has then.

    :ivar begins: from when on that is valid, with all that are sent with it (seconds since the
        epoch).
    :ivar expires: when the first of them ends.
    :raises CannotListen: `pems` are not usable.
    """

    begins: float
    expires: float

    def __init__(self, place: ListeningPlace, pems: Pems) -> None:
        self._place = place
        self._pems: Pems | None = None
        self.renew(pems)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Any:
        from OpenSSL import SSL

        return SSL.Connection(self._options.getContext(), None)

    def renew(self, pems: Pems) -> bool:
        """Use `pems` from now on; False if they are those in use."""
        if pems == self._pems:
            return False
        from OpenSSL import SSL, crypto
        from twisted.internet import ssl

        place, kind = self._place, crypto.FILETYPE_PEM
        try:
            key = ssl.KeyPair.load(pems.key.encode(), kind)
            pair = ssl.PrivateCertificate.load(pems.certificate, key, kind)
            others = _CERTIFICATE.findall(pems.certificate)[1:] + _CERTIFICATE.findall(pems.chain)
            chain = [ssl.Certificate.loadPEM(each).original for each in others]
        except Exception as error:  # OpenSSL's, of many kinds, and with texts that do not help.
            what = f"no key with its certificate (PEM) in {place.private_key}"
            raise _cannot(place, what) from error
        try:
            options = ssl.CertificateOptions(
                privateKey=pair.privateKey.original,
                certificate=pair.original,
                extraCertChain=chain,
                method=getattr(SSL, place.tls_method) if place.tls_method else None,
                dhParameters=_dh_parameters(place.dh_parameters),
            )
            options.getContext()
            served = (pair.original, *chain)
            begins = max(_seconds(each.get_notBefore()) for each in served)
            expires = min(_seconds(each.get_notAfter()) for each in served)
        except Exception as error:
            raise _cannot(place, f"{type(error).__name__}: {error}") from error
        self._options = options
        self._pems, self.begins, self.expires = pems, begins, expires
        return True

    def trouble(self, now: float) -> str:
        """The predicate of a sentence for operators at the time `now`; "" if all is well."""
        return certificates.trouble(self.begins, self.expires, now)


def _seconds(text: bytes) -> float:
    """A time of OpenSSL's in seconds since the epoch."""
    # RFC 5280 has it in UTC, in whole seconds.
    moment = datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ")
    return moment.replace(tzinfo=UTC).timestamp()


def _dh_parameters(path: str) -> Any:
    from twisted.internet import ssl
    from twisted.python.filepath import FilePath

    return ssl.DiffieHellmanParameters.fromFile(FilePath(path)) if path else None


class CertificateRenewal(TimerService):
    """Has the certificate of a place read again every `RENEWAL` seconds. From `NOTICE` before its
    end on it logs that once a day, and at once at the start and when it has ended; also that it is
    not valid yet.

    :param wall: the time in seconds since the epoch.
    :param note: called after each look with the end of the certificate that is served.
    """

    def __init__(
        self,
        place: ListeningPlace,
        contexts: Contexts,
        read: Callable[[], Deferred[Pems]],
        reactor: IReactor,
        wall: Callable[[], float],
        note: Callable[[float], object],
    ) -> None:
        TimerService.__init__(self, RENEWAL, lambda: Deferred.fromCoroutine(self._look()))
        self.clock = reactor
        self._place, self._contexts, self._read = place, contexts, read
        self._seconds, self._wall, self._note = reactor.seconds, wall, note
        self._logged: tuple[float, bool] | None = None
        """When the log was told last, by the reactor's clock, and if of one that is refused."""

    async def _look(self) -> None:
        try:
            if self._contexts.renew(await self._read()):
                self._logged = None
                _log.info("{place} has a new certificate", place=str(self._place))
        except CannotListen as problem:
            _log.error("the certificate stays as it is: {problem}", problem=str(problem))
        except Exception:  # After an error the timer would stop.
            _log.failure("a look for a new certificate failed")
        self._note(self._contexts.expires)
        self._tell()

    def _tell(self) -> None:
        now, seconds = self._wall(), self._seconds()
        trouble = self._contexts.trouble(now)
        if not trouble:
            return
        is_refused = not self._contexts.begins <= now < self._contexts.expires
        # Looks come a little late, and one a day would become one in 25 hours.
        soon = certificates.DAY - RENEWAL / 2
        if self._logged and self._logged[1] == is_refused and seconds - self._logged[0] < soon:
            return
        self._logged = seconds, is_refused
        (_log.error if is_refused else _log.warn)(
            "the certificate of {place} {trouble}, {then} clients that check it refuse to connect."
            " Replace it, with its key; it is read again once an hour",
            place=str(self._place),
            trouble=trouble,
            then="so" if is_refused else "and then",
        )


def endpoint_at(
    reactor: IReactor | None,
    place: ListeningPlace,
    contexts: Contexts | None = None,
    proxies: Container[str] | None = None,
    handshakes: Handshakes | None = None,
    admission: Admission | None = None,
) -> IStreamServerEndpoint:
    """The endpoint that listens at `place`, with the TLS of `contexts`.

    :param proxies: addresses whose connections begin with a header of the PROXY protocol, if any.
    :param handshakes: when a handshake may begin; None: at once. Connections that wait are among
        those of `admission`.
    :raises CannotListen: nothing can listen there.
    """
    try:
        plain = place.without_tls() if place.is_tls else place
        endpoint: IStreamServerEndpoint = serverFromString(
            reactor, str(plain.with_backlog(BACKLOG))
        )
    except Exception as error:  # Twisted raises many kinds for an operator's mistake.
        raise _cannot(place, error) from error
    gate = None
    if handshakes is not None and admission is not None:
        gate = partial(HandshakesFactory, handshakes, admission, cast(IReactor, reactor))
    return _Endpoint(endpoint, contexts, proxies, cast(IReactor, reactor), gate)


@implementer(IStreamServerEndpoint)
@dataclass(frozen=True)
class _Endpoint:
    endpoint: IStreamServerEndpoint
    contexts: Contexts | None
    proxies: Container[str] | None
    reactor: IReactor
    gate: Callable[[IProtocolFactory], IProtocolFactory] | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        if self.contexts is not None:
            from twisted.protocols.tls import TLSMemoryBIOFactory  # It needs OpenSSL.

            protocolFactory = TLSMemoryBIOFactory(
                cast(Any, self.contexts), False, protocolFactory, self.reactor
            )
            if self.gate is not None:
                protocolFactory = self.gate(protocolFactory)
        if self.proxies is not None:
            # Its header comes before the handshake.
            protocolFactory = ProxiedFactory(protocolFactory, self.proxies, self.reactor)
        return self.endpoint.listen(protocolFactory)


class HandshakesFactory(Factory):
    """Makes `wrapped`'s protocols, which begin a handshake, when it is their turn (`Handshakes`).
    Connections that have none in time are ended: nothing can be said to them before TLS."""

    noisy = False

    def __init__(
        self,
        handshakes: Handshakes,
        admission: Admission,
        clock: IReactorTime,
        wrapped: IProtocolFactory,
    ) -> None:
        self.wrapped = wrapped
        self.clock = clock
        self._handshakes = handshakes
        self._admission = admission
        # By address they are counted as handshakes here, and as connections when they begin.
        self._door = admission.door(admission.most)

    def logPrefix(self) -> str:
        prefix: str = cast(Any, self.wrapped).logPrefix()
        return prefix

    def doStart(self) -> None:
        self.wrapped.doStart()

    def doStop(self) -> None:
        self.wrapped.doStop()

    def buildProtocol(self, address: IAddress) -> IProtocol | None:  # type: ignore[override]
        host = host_of(address)
        seconds = self._handshakes.turn(host)
        if seconds is None:
            audit.record("connect", "refused", address=host)
            self._admission.when_refused()
            return None
        if not seconds:
            return self.wrapped.buildProtocol(address)
        entry = self._door.enter(host)
        return WaitingConnection(self, address, entry, seconds) if entry else None


class WaitingConnection(Protocol):
    """A connection that waits until its handshake may begin, and is not read until then."""

    def __init__(
        self, factory: HandshakesFactory, address: IAddress, entry: IEntry, seconds: float
    ) -> None:
        self._factory, self._address, self._seconds = factory, address, seconds
        self._entry: IEntry | None = entry
        self._inner: Any = None
        self._early = b""  # What came behind a proxy's header.
        self._turn: IDelayedCall | None = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.pauseProducing()
        if self._entry is not None:
            self._entry.watch(transport.abortConnection)
        self._turn = self._factory.clock.callLater(self._seconds, self._begin)

    def _begin(self) -> None:
        self._turn = None
        self._leave()
        transport: Any = self.transport
        self._inner = self._factory.wrapped.buildProtocol(self._address)
        if self._inner is None:
            transport.abortConnection()
            return
        if IHalfCloseableProtocol.providedBy(self._inner):
            self.readConnectionLost = self._inner.readConnectionLost
            self.writeConnectionLost = self._inner.writeConnectionLost
            alsoProvides(self, IHalfCloseableProtocol)
        transport.resumeProducing()
        self._inner.makeConnection(transport)
        if self._early:
            self._inner.dataReceived(self._early)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is None:
            self._early += data
        else:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._leave()
        if self._inner is not None:
            self._inner.connectionLost(reason)

    def _leave(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.leave()


def _cannot(place: ListeningPlace, why: object) -> CannotListen:
    problem = CannotListen(f"cannot listen on {place}: {why}")
    problem.may_pass = isinstance(why, references.SecretUnavailable) and why.may_pass
    return problem
