"""Secrets that the configuration only names.

`database.url`, and each URL of `broker.url`, may be a reference instead: `ssm:/bbs/database` for a
parameter of AWS's Systems Manager, `secretsmanager:bbs/database` for a secret of its Secrets
Manager. The configuration keeps the reference, so that what is printed, written or handed to other
machines never holds the secret; the URL itself is asked for when a server opens the place, in the
region of `ec2.region` and with the credentials that the machine has.

Each store has an endpoint of its own, which is AWS's unless botocore's own settings name another:
AWS_ENDPOINT_URL_SSM, AWS_ENDPOINT_URL_SECRETS_MANAGER, AWS_ENDPOINT_URL, or its configuration file.
`ec2.endpoint_url` is EC2's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bbs.config import kinds
from bbs.config.kinds import Kind, NotInstalled, is_reference
from bbs.config.loading import ConfigError
from bbs.config.sections import EC2

CONNECT_TIMEOUT = 2
"""Seconds until a store that does not accept the connection is tried again."""

READ_TIMEOUT = 3
"""Seconds until a store that does not answer is asked again."""

ATTEMPTS = 2
"""How often a store is asked by default. A supervisor starts a server again that did not start."""

NEEDS_BOTO3 = "needs the package boto3"

_RIGHT: Mapping[str, Kind[Any]] = {
    "database.url": kinds.database_url,
    "broker.url": kinds.named_brokers,
}


class SecretUnavailable(ConfigError):
    """A secret is not available or not usable; one line that names the key and the reference."""


def needed(values: Iterable[str]) -> bool:
    """Whether any of these values has to be asked for."""
    return any(map(is_reference, values))


def reveal(key: str, values: Iterable[str], ec2: EC2, attempts: int = ATTEMPTS) -> tuple[str, ...]:
    """The values of `key`, each reference replaced by what it stands for.

    This blocks, for up to some ten seconds a reference. boto3 is imported only if there is one.

    :param key: `database.url` or `broker.url`.
    :param attempts: how often a store is asked.
    :raises SecretUnavailable: the store does not have it or does not give it, or what it gave is
        nothing that the key may be.
    """
    return tuple(
        _ask(key, value, ec2, attempts) if is_reference(value) else value for value in values
    )


def _ask(key: str, reference: str, ec2: EC2, attempts: int) -> str:
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise SecretUnavailable(f"{key}: {reference}: {NEEDS_BOTO3}") from None
    service, _, name = reference.partition(":")
    try:
        secret = _STORES[service](_client(service, ec2, attempts), name).strip()
    except ClientError as error:
        told = error.response["Error"]
        why = f"{told.get('Code', '')}: {told.get('Message', '')}".strip(": ")
        raise SecretUnavailable(_line(key, reference, why)) from error
    except BotoCoreError as error:
        raise SecretUnavailable(_line(key, reference, str(error))) from error
    try:
        if is_reference(secret):
            raise ValueError
        _RIGHT[key].read(secret)
    except NotInstalled as error:
        raise SecretUnavailable(_line(key, reference, str(error))) from None
    except ValueError:
        # The cause is left out: its text may hold the secret.
        wanted = f"what it holds is not {_RIGHT[key].right}"
        raise SecretUnavailable(_line(key, reference, wanted)) from None
    return secret


def _client(service: str, ec2: EC2, attempts: int) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]
        region_name=ec2.region,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": attempts},
        ),
    )


def _from_ssm(client: Any, name: str) -> str:
    answer = client.get_parameter(Name=name, WithDecryption=True)
    return str(answer["Parameter"]["Value"])


def _from_secrets_manager(client: Any, name: str) -> str:
    return str(client.get_secret_value(SecretId=name).get("SecretString", ""))


_STORES: Mapping[str, Callable[[Any, str], str]] = {
    "ssm": _from_ssm,
    "secretsmanager": _from_secrets_manager,
}


def _line(key: str, reference: str, why: str) -> str:
    return " ".join(f"{key}: {reference}: {why}".split())
