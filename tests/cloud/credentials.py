"""Who calls: access keys, those that last and those that expire, and the signatures made with them.

A signature is made again here, with botocore's own signer, and compared.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from time import gmtime, strftime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.standins.ec2 import APIError

SKEW = 300.0
"""Seconds by which the clock of a caller may differ from the cloud's."""

LASTING = 6 * 3600.0
"""Seconds for which temporary credentials are good."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]*)/\d+/([^/]*)/([^/]*)/aws4_request,"
    r" ?SignedHeaders=([^,]*), ?Signature=([0-9a-f]*)"
)

_OTHERS = {
    "AuthFailure": "UnrecognizedClientException",
    "RequestExpired": "InvalidSignatureException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}
"""What the services that speak JSON say instead; for a session's end `ExpiredTokenException`."""


@dataclass(frozen=True)
class Key:
    """An access key: `token` and `expires` are those of a temporary one."""

    id: str
    secret: str
    identity: str
    token: str = ""
    expires: float = float("inf")


class Keys:
    """All access keys of the account.

    :param now: the cloud's time, in seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._keys: dict[str, Key] = {}
        self._current: dict[str, Key] = {}

    def add(self, identity: str, secret: str) -> None:
        """Somebody has a key that lasts, whose id is their name."""
        self._keys[identity] = Key(identity, secret, identity)

    def owner(self, key_id: str) -> str:
        """Whose a key is; the key's own id when it is nobody's."""
        known = self._keys.get(key_id)
        return known.identity if known else key_id

    def current(self, identity: str) -> Key:
        """The temporary key of somebody: the same until it expires."""
        key = self._current.get(identity)
        if key is None or key.expires <= self._now():
            number = sum(each.identity == identity for each in self._keys.values())
            key = Key(
                f"{identity}{number}",
                secrets.token_hex(20),
                identity,
                secrets.token_urlsafe(40),
                self._now() + LASTING,
            )
            self._current[identity] = self._keys[key.id] = key
        return key

    def expire(self) -> None:
        """All temporary keys that there are expire now."""
        for id, key in self._keys.items():
            if key.token:
                self._keys[id] = Key(key.id, key.secret, key.identity, key.token, self._now())
        self._current.clear()

    def check(self, service: str, headers: Mapping[str, str], body: bytes) -> None:
        """Refuse a request whose signature is not right.

        :raises APIError: it is not, or the key is unknown, or has expired, or the date is wrong.
        """
        try:
            self._check({name.lower(): value for name, value in headers.items()}, body)
        except APIError as error:
            if service == "ec2":
                raise
            code = "ExpiredTokenException" if isinstance(error, Expired) else _OTHERS[error.code]
            raise APIError(code, error.message) from None

    def _check(self, headers: Mapping[str, str], body: bytes) -> None:
        given = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        key = self._keys.get(given[1]) if given else None
        if given is None or key is None or headers.get("x-amz-security-token", "") != key.token:
            raise APIError(
                "AuthFailure", "AWS was not able to validate the provided access credentials"
            )
        date = headers.get("x-amz-date", "")
        if abs(_seconds(date) - self._now()) > SKEW:
            raise APIError("RequestExpired", "Request has expired.")
        if key.expires <= self._now():
            raise Expired("RequestExpired", "Request has expired.")
        _, region, service, signed, signature = given.groups()
        request = AWSRequest(
            method="POST",
            url=f"http://{headers['host']}/",
            data=body,
            headers={name: headers.get(name, "") for name in signed.split(";")},
        )
        request.context["timestamp"] = date
        signer = SigV4Auth(Credentials(key.id, key.secret, key.token), service, region)
        made = signer.signature(
            signer.string_to_sign(request, signer.canonical_request(request)), request
        )
        if not compare_digest(made, signature):
            raise APIError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided."
                " Check your AWS Secret Access Key and signing method.",
            )


class Expired(APIError):
    """A session is over."""


def document(key: Key, now: float) -> dict[str, str]:
    """A temporary key as the metadata service, or a container's, gives it."""
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": stamp(now),
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "Token": key.token,
        "Expiration": stamp(key.expires),
    }


def stamp(seconds: float) -> str:
    """A time as AWS writes it in JSON."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))


def _seconds(date: str) -> float:
    """When a request says that it was signed; a time long ago when it does not."""
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
