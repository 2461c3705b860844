"""TLS to servers: whom a client trusts, and endpoints that connect to nobody else.

A server shows a certificate for its own address, or for the name under which the person knows the
service. The second is enough for an app server, of which the login server tells an IP address only:
who told it has shown that it is the service, and so has who answers there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.connection import endpoint_to
from bbs.core.addresses import Address, has_tls

NOT_INSTALLED = (
    "TLS needs packages that are not installed: pip install '.[tls]' in a checkout of bbs"
)

_PEM = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class TrustUnusable(Exception):
    """TLS cannot be had as it was asked for; the text is one line that says why."""


class CertificateRefused(Exception):
    """What is wrong with the certificate of a server, in a few words."""


@dataclass(frozen=True)
class Trust:
    """Whom a client believes by TLS: what `load_trust` makes."""

    context: Any


def load_trust(ca: str = "") -> Trust:
    """Trust in the certificates of the PEM file `ca`, and in whom they have signed; in the system's
    authorities where it is empty. It blocks.

    :raises TrustUnusable: the file is no use, or TLS is not installed.
    """
    if not has_tls():
        raise TrustUnusable(NOT_INSTALLED)
    from OpenSSL import SSL, crypto
    from twisted.internet import ssl

    if ca:
        roots = _roots(ca)
        options = ssl.CertificateOptions(trustRoot=ssl.trustRootFromCertificates(roots))
    else:
        options = ssl.CertificateOptions(trustRoot=ssl.platformTrust())
    context = options.getContext()
    store = context.get_cert_store()
    if ca and store is not None:
        # The file may have a server's own certificate, whoever signed that.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verified)
    return Trust(context)


def _roots(path: str) -> Sequence[Any]:
    from twisted.internet.ssl import Certificate

    try:
        with open(path, "rb") as file:
            found = _PEM.findall(file.read())
    except OSError as problem:
        raise TrustUnusable(f"{path}: {problem.strerror}") from problem
    except ValueError as problem:  # a NUL in the path
        raise TrustUnusable(f"{path!r} is no file") from problem
    try:
        roots = [Certificate.loadPEM(each) for each in found]
    except Exception as problem:  # OpenSSL's, whose text helps nobody.
        raise TrustUnusable(f"{path}: a certificate in it cannot be read") from problem
    if not roots:
        raise TrustUnusable(f"{path}: no certificate in it (PEM)")
    return roots


def names_in(path: str) -> Sequence[str]:
    """The host names and addresses that the first certificate in the PEM file `path` is for. It
    blocks.

    :raises TrustUnusable: there is none, or it is for nobody.
    """
    if not has_tls():
        raise TrustUnusable(NOT_INSTALLED)
    from cryptography import x509

    certificate = _roots(path)[0].original.to_cryptography()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise TrustUnusable(f"{path}: the certificate names no host (subjectAltName)") from None
    hosts = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    found = [name for name in hosts if "*" not in name] + [str(each) for each in addresses]
    if not found:
        raise TrustUnusable(f"{path}: the certificate is for no host of its own")
    return found


def tls_endpoints(
    reactor: IReactorTime, trust: Trust, name: str
) -> Callable[[Address], IStreamClientEndpoint]:
    """What makes the TLS endpoint of a server of the service that people know by `name`, a host
    name or address: for `BBSClient`, which raises `NotSecure` where it is not that."""

    def endpoint(address: Address) -> IStreamClientEndpoint:
        creator = _ToOneOf(trust.context, (address.host, name))
        return wrapClientTLS(creator, endpoint_to(reactor, address))

    return endpoint


@dataclass(frozen=True)
class _Handshake:
    """The names of which one connection's server has to be."""

    protocol: Any
    names: Sequence[str]


_handshakes: WeakKeyDictionary[Any, _Handshake] = WeakKeyDictionary()
"""By OpenSSL's connections, whose own place for such things is Twisted's."""


@implementer(IOpenSSLClientConnectionCreator)
@dataclass(frozen=True)
class _ToOneOf:
    """Connections to who has a certificate for one of `names`."""

    context: Any
    names: Sequence[str]

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        from OpenSSL import SSL

        connection = SSL.Connection(self.context, None)
        _handshakes[connection] = _Handshake(tlsProtocol, self.names)
        # Server Name Indication (RFC 6066, section 3) has host names alone.
        if shown := [name for name in self.names if not _is_address(name)]:
            connection.set_tlsext_host_name(_ascii(shown[0]))
        return connection


def _is_address(name: str) -> bool:
    return isIPAddress(name) or isIPv6Address(name)


def _ascii(name: str) -> bytes:
    return name.encode("ascii") if name.isascii() else name.encode("idna")


def _verified(connection: Any, certificate: Any, code: int, depth: int, right: int) -> bool:
    """OpenSSL has looked at one certificate of the chain; `code` is its X509_V_ERR_…. Whether the
    handshake goes on: an exception here ends it too."""
    handshake = _handshakes[connection]
    if not right:
        problem = _PROBLEMS.get(code, f"is not trusted (OpenSSL's error {code})")
    elif depth == 0 and not any(_is_for(certificate, name) for name in handshake.names):
        problem = f"is not for {' or '.join(dict.fromkeys(handshake.names))}"
    else:
        return True
    refusal = CertificateRefused(f"its certificate {problem}")
    handshake.protocol.failVerification(Failure(refusal))
    return False


def _is_for(certificate: Any, name: str) -> bool:
    from service_identity import CertificateError, VerificationError
    from service_identity.cryptography import (
        verify_certificate_hostname,
        verify_certificate_ip_address,
    )

    verify = verify_certificate_ip_address if _is_address(name) else verify_certificate_hostname
    try:
        verify(certificate.to_cryptography(), name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


_UNKNOWN = "is signed by nobody who is trusted here"

_PROBLEMS = {
    2: _UNKNOWN,
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself, and not trusted here",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    23: "was revoked",
}
"""OpenSSL's X509_V_ERR_… (x509_vfy.h), those that people meet."""
