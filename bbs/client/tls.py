"""TLS to servers: whom a client trusts, and endpoints that connect to nobody else.

A server shows a certificate for its own address, or for the name under which the person knows the
service. The name is enough for an app server, as the login server may give only its IP address: the
login server has shown that it is the service, and the app server shows the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.connection import endpoint_to
from bbs.client.errors import NotSecure
from bbs.core.addresses import Address, has_tls

NOT_INSTALLED = "TLS needs packages that are not installed: pip install 'txbbs[tls] >= 0.4'"

_PEM = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class TrustUnusable(Exception):
    """TLS cannot be set up as asked; the text is one line that says why."""


@dataclass(frozen=True)
class Trust:
    """Whom a client trusts (`load_trust`)."""

    context: Any


def load_trust(ca: str = "") -> Trust:
    """Trust the certificates in the PEM file `ca` and those signed by them, or the system's
    authorities if `ca` is empty. This blocks.

    :raises TrustUnusable: the file is not usable, or TLS is not installed.
    """
    if not has_tls():
        raise TrustUnusable(NOT_INSTALLED)
    from OpenSSL import SSL, crypto
    from twisted.internet import ssl

    root = ssl.trustRootFromCertificates(_load_pem(ca)) if ca else ssl.platformTrust()
    context = ssl.CertificateOptions(trustRoot=root).getContext()
    store = context.get_cert_store()
    if ca and store is not None:
        # The file may have a server's own certificate, and not that of its signer.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verified)
    return Trust(context)


def _load_pem(path: str) -> Sequence[Any]:
    from twisted.internet.ssl import Certificate

    try:
        with open(path, "rb") as file:
            found = _PEM.findall(file.read())
    except OSError as problem:
        raise TrustUnusable(f"{path}: {problem.strerror}") from problem
    except ValueError as problem:  # a NUL in the path
        raise TrustUnusable(f"{path!r} is not a file") from problem
    try:
        certificates = [Certificate.loadPEM(each) for each in found]
    except Exception as problem:  # OpenSSL's, with a text that does not help.
        raise TrustUnusable(f"{path}: a certificate in it cannot be read") from problem
    if not certificates:
        raise TrustUnusable(f"{path}: no certificate in it (PEM)")
    return certificates


def names_in(path: str) -> Sequence[str]:
    """The host names and addresses of the first certificate in the PEM file `path`. This blocks.

    :raises TrustUnusable: the certificate is missing, or without names.
    """
    if not has_tls():
        raise TrustUnusable(NOT_INSTALLED)
    from cryptography import x509

    certificate = _load_pem(path)[0].original.to_cryptography()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise TrustUnusable(f"{path}: the certificate names no host (subjectAltName)") from None
    hosts = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    found = [name for name in hosts if "*" not in name] + [str(each) for each in addresses]
    if not found:
        raise TrustUnusable(f"{path}: the certificate names no single host")
    return found


def tls_endpoints(
    reactor: IReactorTime,
    trust: Trust,
    name: str,
    way_to: Callable[[Address], Address] = lambda address: address,
) -> Callable[[Address], IStreamClientEndpoint]:
    """Make the function `endpoint` of a client, for TLS to the servers of a service that people
    know by `name`, a host name or address. Other servers are `NotSecure`.

    :param way_to: where to connect to for the server at an address, if not there.
    """

    def endpoint(address: Address) -> IStreamClientEndpoint:
        creator = _ConnectionCreator(trust.context, (address.host, name))
        return _SecureEndpoint(reactor, creator, endpoint_to(reactor, way_to(address)))

    return endpoint


@implementer(IStreamClientEndpoint)
@dataclass(frozen=True)
class _SecureEndpoint:
    """As `wrapClientTLS` makes one, whose connections write by this clock: Twisted's write by the
    process's reactor, which does not run where asyncio has a client."""

    clock: Any
    creator: Any
    endpoint: Any

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        from twisted.protocols.tls import TLSMemoryBIOFactory  # It needs OpenSSL.

        factory = TLSMemoryBIOFactory(self.creator, True, protocolFactory, self.clock)
        connected: Deferred[Any] = self.endpoint.connect(factory)
        return connected.addCallback(lambda protocol: protocol.wrappedProtocol)


_handshakes: WeakKeyDictionary[Any, tuple[Any, Sequence[str]]] = WeakKeyDictionary()
"""The protocol and the server's names by OpenSSL's connection, whose app data are Twisted's."""


@implementer(IOpenSSLClientConnectionCreator)
@dataclass(frozen=True)
class _ConnectionCreator:
    """Makes connections to servers with a certificate for one of `names`."""

    context: Any
    names: Sequence[str]

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        from OpenSSL import SSL

        connection = SSL.Connection(self.context, None)
        _handshakes[connection] = tlsProtocol, self.names
        # Server Name Indication (RFC 6066, section 3) is for host names only.
        if shown := [name for name in self.names if not _is_address(name)]:
            name = shown[0]
            connection.set_tlsext_host_name(name.encode("ascii" if name.isascii() else "idna"))
        return connection


def _is_address(name: str) -> bool:
    return isIPAddress(name) or isIPv6Address(name)


def _verified(connection: Any, certificate: Any, code: int, depth: int, right: int) -> bool:
    """Whether the handshake goes on after OpenSSL has checked one certificate of the chain; `code`
    is OpenSSL's X509_V_ERR_…. An exception here ends the handshake too."""
    protocol, names = _handshakes[connection]
    if not right:
        problem = _PROBLEMS.get(code, f"is not trusted (OpenSSL's error {code})")
    elif depth == 0 and not any(_is_for(certificate, name) for name in names):
        problem = f"is not for {' or '.join(dict.fromkeys(names))}"
    else:
        return True
    protocol.failVerification(Failure(NotSecure(f"its certificate {problem}")))
    return False


def _is_for(certificate: Any, name: str) -> bool:
    from service_identity import CertificateError, VerificationError
    from service_identity.cryptography import verify_certificate_hostname as verify_host
    from service_identity.cryptography import verify_certificate_ip_address as verify_address

    verify = verify_address if _is_address(name) else verify_host
    try:
        verify(certificate.to_cryptography(), name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


_PROBLEMS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed and not trusted",
    23: "was revoked",
    **dict.fromkeys((2, 19, 20, 21), "is not signed by a trusted authority"),
}
"""The common ones of OpenSSL's X509_V_ERR_… (x509_vfy.h)."""
