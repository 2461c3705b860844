"""Secrets that the configuration only names.

`database.url`, each URL of `broker.url`, and the `privateKey` and `certKey` of an `ssl:` endpoint
may be a reference instead: `ssm:/bbs/database` for a parameter of AWS's Systems Manager,
`secretsmanager:bbs/database` for a secret of its Secrets Manager. The configuration keeps the
reference, so nothing that is printed, written or handed to other machines holds the secret. A
server asks for the secret itself when it needs it, in the region `ec2.region` and with the
credentials of its machine.

Each store has an endpoint of its own: AWS's, unless botocore's settings name another
(AWS_ENDPOINT_URL_SSM, AWS_ENDPOINT_URL_SECRETS_MANAGER, AWS_ENDPOINT_URL, or its configuration
file). `ec2.endpoint_url` is for EC2 alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bbs.config import kinds
from bbs.config.kinds import Kind, NotInstalled, is_reference
from bbs.config.loading import ConfigError
from bbs.config.sections import Configuration

CONNECT_TIMEOUT = 2  # s until a store that does not accept the connection is tried again
READ_TIMEOUT = 3  # s until a store that does not answer is asked again
ATTEMPTS = 2  # requests to a store by default; if they fail, a supervisor restarts the server

NEEDS_BOTO3 = "needs the package boto3"

_PASSING = (
    *("AccessDenied", "AccessDeniedException", "InvalidClientTokenId"),
    *("InvalidSignatureException", "UnrecognizedClientException", "ThrottlingException"),
)
"""Codes of errors that a role which has just been made, or given its rights, gets for a while, or
one of many instances that boot together: Systems Manager answers forty a second."""

_RIGHT: Mapping[str, Kind[Any]] = {
    "database.url": kinds.database_url,
    "broker.url": kinds.named_brokers,
    "listen": kinds.pem,
}


class SecretUnavailable(ConfigError):
    """A secret is not available or not usable; one line that names the key and the reference.
    `may_pass`: the credentials or their rights may only be new, or the store away or busy for
    now."""

    def __init__(self, key: str, reference: str, why: str, may_pass: bool = False) -> None:
        super().__init__(" ".join(f"{key}: {reference}: {why}".split()))
        self.may_pass = may_pass


def needed(values: Iterable[str]) -> bool:
    """Whether any of these values is a reference."""
    return any(map(is_reference, values))


def reveal(
    key: str, values: Iterable[str], config: Configuration, attempts: int = ATTEMPTS
) -> tuple[str, ...]:
    """The values of `key`, each reference replaced by its secret.

    This blocks, for up to some ten seconds a reference. boto3 is imported only if there is one.

    :param key: `database.url`, `broker.url` or `listen`.
    :param config: has the region of the stores.
    :param attempts: how often a store is asked.
    :raises SecretUnavailable: the store does not have the secret or does not give it, or the secret
        is not a value of the key.
    """
    region = config.ec2.region
    return tuple(
        _ask(key, value, region, attempts) if is_reference(value) else value for value in values
    )


def _ask(key: str, reference: str, region: str, attempts: int) -> str:
    try:
        import botocore.exceptions as aws
    except ImportError:
        raise SecretUnavailable(key, reference, NEEDS_BOTO3) from None
    try:
        secret = _fetch(reference, region, attempts).strip()
    except aws.ClientError as error:
        answer = error.response["Error"]
        code = answer.get("Code", "")
        why = f"{code}: {answer.get('Message', '')}".strip(": ")
        is_broken = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
        raise SecretUnavailable(key, reference, why, is_broken or code in _PASSING) from error
    except aws.BotoCoreError as error:
        away = (
            aws.ConnectionError,
            aws.CredentialRetrievalError,
            aws.HTTPClientError,
            aws.NoCredentialsError,
        )
        raise SecretUnavailable(key, reference, str(error), isinstance(error, away)) from error
    try:
        if is_reference(secret):
            raise ValueError
        _RIGHT[key].read(secret)
    except NotInstalled as error:
        raise SecretUnavailable(key, reference, str(error)) from None
    except ValueError as error:
        # Without the cause: its text may hold the secret.
        wanted = f"what it holds is not {_RIGHT[key].expected(error)}"
        raise SecretUnavailable(key, reference, wanted) from None
    return secret


def _fetch(reference: str, region: str, attempts: int) -> str:
    import boto3
    from botocore.config import Config

    service, _, name = reference.partition(":")
    client: Any = boto3.session.Session().client(
        service,  # type: ignore[call-overload]
        region_name=region,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": attempts},
        ),
    )
    if service == "ssm":
        return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    return str(client.get_secret_value(SecretId=name).get("SecretString", ""))
