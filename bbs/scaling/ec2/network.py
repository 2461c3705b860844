"""What the network's errors mean for a call: no answer came, and for a word, why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from bbs.scaling.ec2.errors import no_answer


@contextmanager
def named(action: str) -> Iterator[None]:
    """Have an error of the network's be an `EC2Error`."""
    try:
        yield
    except (ResponseFailed, RequestTransmissionFailed) as error:
        causes = [failure.value for failure in error.reasons]
        if any(isinstance(cause, CancelledError) for cause in causes):
            raise CancelledError from None
        raise no_answer(action, _word(causes[-1])) from None
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ConnectError, OSError) as error:
        # Nothing was sent: there was no connection.
        told = no_answer(action, _word(error))
        told.doubtful = False
        raise told from None
    except ConnectionClosed as error:
        raise no_answer(action, _word(error)) from None


def _word(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__.startswith("OpenSSL"):
        return f"TLS: {_openssl(error.args) or kind.__name__}"
    if kind.__module__.startswith("service_identity"):
        return "TLS: the certificate is for another name"
    return kind.__name__.lstrip("_")


def _openssl(args: Any) -> str:
    """OpenSSL's: a list of (library, function, reason), which can be empty."""
    try:
        return str(args[0][0][2])
    except (IndexError, TypeError):
        return ""
