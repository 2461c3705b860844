"""Endpoints that servers listen at: with TLS, and behind proxies that say where people are from.

A certificate is in files, or in a secret that the endpoint refers to (`bbs/config/references.py`).
It can be renewed: servers read it again once an hour. Connections that are there keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from bbs.config import EC2, ConfigError, references
from bbs.config.kinds import is_reference
from bbs.core.addresses import ListeningPlace
from bbs.core.clock import IReactor
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


def read_pems(place: ListeningPlace, ec2: EC2) -> Pems:
    """What `place` has for TLS. This blocks.

    :raises CannotListen: a file cannot be read, or a secret cannot be had.
    """
    read: dict[str, str] = {"": ""}
    for where in (place.private_key, place.certificate, place.chain):
        if where not in read:
            read[where] = _read(place, where, ec2)
    return Pems(read[place.private_key], read[place.certificate], read[place.chain])


def _read(place: ListeningPlace, where: str, ec2: EC2) -> str:
    try:
        if is_reference(where):
            return references.reveal("listen", [where], ec2)[0]
        with open(where, encoding="ascii", errors="replace") as file:
            return file.read()
    except ConfigError as error:
        raise _cannot(place, error) from error
    except OSError as error:
        raise _cannot(place, f"{where}: {error.strerror}") from error


@implementer(IOpenSSLServerConnectionCreator)
class Contexts:
    """The TLS of a place: makes each new connection with the certificate that it has then.

    :raises CannotListen: `pems` are not usable.
    """

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
        except Exception as error:
            raise _cannot(place, f"{type(error).__name__}: {error}") from error
        self._options = options
        self._pems = pems
        return True


def _dh_parameters(path: str) -> Any:
    from twisted.internet import ssl
    from twisted.python.filepath import FilePath

    return ssl.DiffieHellmanParameters.fromFile(FilePath(path)) if path else None


class CertificateRenewal(TimerService):
    """Has the certificate of a place read again every `RENEWAL` seconds."""

    def __init__(
        self,
        place: ListeningPlace,
        contexts: Contexts,
        read: Callable[[], Deferred[Pems]],
        reactor: IReactor,
    ) -> None:
        TimerService.__init__(self, RENEWAL, lambda: Deferred.fromCoroutine(self._look()))
        self.clock = reactor
        self._place, self._contexts, self._read = place, contexts, read

    async def _look(self) -> None:
        try:
            if self._contexts.renew(await self._read()):
                _log.info("{place} has a new certificate", place=str(self._place))
        except CannotListen as problem:
            _log.error("the certificate stays as it is: {problem}", problem=str(problem))
        except Exception:  # After an error the timer would stop.
            _log.failure("a look for a new certificate failed")


def endpoint_at(
    reactor: IReactor | None,
    place: ListeningPlace,
    contexts: Contexts | None = None,
    proxies: Container[str] | None = None,
) -> IStreamServerEndpoint:
    """The endpoint that listens at `place`, with the TLS of `contexts`.

    :param proxies: addresses whose connections begin with a header of the PROXY protocol, if any.
    :raises CannotListen: nothing can listen there.
    """
    try:
        plain = place.without_tls() if place.is_tls else place
        endpoint: IStreamServerEndpoint = serverFromString(
            reactor, str(plain.with_backlog(BACKLOG))
        )
    except Exception as error:  # Twisted raises many kinds for an operator's mistake.
        raise _cannot(place, error) from error
    return _Endpoint(endpoint, contexts, proxies, cast(IReactor, reactor))


@implementer(IStreamServerEndpoint)
@dataclass(frozen=True)
class _Endpoint:
    endpoint: IStreamServerEndpoint
    contexts: Contexts | None
    proxies: Container[str] | None
    reactor: IReactor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        if self.contexts is not None:
            from twisted.protocols.tls import TLSMemoryBIOFactory  # It needs OpenSSL.

            protocolFactory = TLSMemoryBIOFactory(
                cast(Any, self.contexts), False, protocolFactory, self.reactor
            )
        if self.proxies is not None:
            # Its header comes before the handshake.
            protocolFactory = ProxiedFactory(protocolFactory, self.proxies, self.reactor)
        return self.endpoint.listen(protocolFactory)


def _cannot(place: ListeningPlace, why: object) -> CannotListen:
    problem = CannotListen(f"cannot listen on {place}: {why}")
    problem.may_pass = isinstance(why, references.SecretUnavailable) and why.may_pass
    return problem
