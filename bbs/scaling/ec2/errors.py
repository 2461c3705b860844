"""What an error of the EC2 API means for whoever asked: one table.

botocore's standard retry mode (`botocore.retries.standard`) knows what is transient and what is
throttling; a test holds this table against its lists. It does not know what a launch means: it
would ask again for capacity that lacks where that comes as HTTP 500, and it has no word for an
operator. The codes are those of "Error codes for the Amazon EC2 API" in EC2's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Verdict(Enum):
    """What to do about an error."""

    UNASKED = "it was not asked, and later it can be"
    AGAIN = "it may have been done or not: ask again, under the same token"
    THROTTLED = "it was not done, and this action is not asked for a while"
    ELSEWHERE = "it was not done, and may be with another instance type or subnet"
    NO_SPOT = "it was not done, and will not be as Spot"
    NOT_NOW = "the instance is in a state in which it cannot be done, and may be done later"
    NOT_FOUND = "there is no such instance, or not yet"
    TOKEN_USED = "the token stands for another launch that exists"  # nosec B105 # EC2's, no secret.
    TOKEN_ENDED = "the token's instance was there and has ended"  # nosec B105 # Neither.
    REFUSED = "it was not done, and will not be until an operator acts"


LATER = (Verdict.UNASKED, Verdict.AGAIN, Verdict.THROTTLED)
"""Those that say nothing of the request itself."""


class EC2Error(Exception):
    """The failure of a call of the EC2 API. Its text is one line for operators, free of secrets.

    `doubtful`: the call may have been carried out, by this try or an earlier one. `credentials`: it
    was refused for them, or for the lack of them.
    """

    def __init__(
        self, verdict: Verdict, code: str, text: str, *, credentials: bool = False
    ) -> None:
        super().__init__(text)
        self.verdict = verdict
        self.code = code
        self.doubtful = verdict is Verdict.AGAIN
        self.credentials = credentials


_CREDENTIALS = "give the login server credentials: an instance profile, or AWS_* variables"
_QUOTA = "raise the account's quota (Service Quotas, Amazon EC2), or lower fleet.maximum"
_RIGHTS = "the login server's role lacks a right (docs/aws.md has the policy)"
_ACCOUNT = "the AWS account is not ready for it: look at its console"
_CLOCK = "set this machine's clock"
_CONFIGURATION = "correct [ec2] in the configuration"
_TEMPLATE = "correct ec2.launch_template in the configuration, or the template"
_SPOT_ROLE = (
    "have an administrator run once: aws iam create-service-linked-role"
    " --aws-service-name spot.amazonaws.com"
)

_MEANINGS: Mapping[tuple[Verdict, str], str] = {
    (Verdict.AGAIN, ""): """
        ConcurrentTagAccess InternalError InternalFailure RequestTimeout RequestTimeoutException
        ServerInternal ServiceUnavailable Unavailable""",
    # PriorRequestNotComplete is among botocore's transient codes, and among the throttling ones.
    (Verdict.THROTTLED, ""): """
        BandwidthLimitExceeded EC2ThrottledException LimitExceededException PriorRequestNotComplete
        ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled
        RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException
        TooManyRequestsException TransactionInProgressException""",
    (Verdict.ELSEWHERE, ""): """
        IncompatibleHostRequirements InsufficientAddressCapacity InsufficientCapacity
        InsufficientCapacityOnHost InsufficientFreeAddressesInSubnet InsufficientHostCapacity
        InsufficientInstanceCapacity InsufficientReservedInstanceCapacity
        InsufficientReservedInstancesCapacity InsufficientVolumeCapacity InvalidAvailabilityZone
        InvalidInstanceType ReservationCapacityExceeded SpotMaxPriceTooLow
        UnavailableHostRequirements Unsupported UnsupportedHostConfiguration
        UnsupportedInstanceTypeOnHost UnsupportedOperation VolumeTypeNotAvailableInZone""",
    (Verdict.NO_SPOT, _QUOTA): "MaxSpotInstanceCountExceeded RequestResourceCountExceeded",
    (Verdict.NO_SPOT, _SPOT_ROLE): "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    (Verdict.NOT_NOW, ""): """
        IncorrectInstanceState IncorrectState InvalidInstanceState InvalidState""",
    (Verdict.NOT_FOUND, ""): "InvalidInstanceID.NotFound",
    (Verdict.TOKEN_USED, ""): "IdempotentParameterMismatch",
    # Since January 2025; before, EC2 answered with the instance that has ended.
    (Verdict.TOKEN_ENDED, ""): "IdempotentInstanceTerminated",
    (Verdict.REFUSED, _RIGHTS): """
        AccessDenied AccessDeniedException OperationNotPermitted UnauthorizedOperation""",
    (Verdict.REFUSED, _CREDENTIALS): """
        AuthFailure ExpiredToken ExpiredTokenException IncompleteSignature InvalidClientTokenId
        MissingAuthenticationToken SignatureDoesNotMatch UnrecognizedClientException""",
    (Verdict.REFUSED, _CLOCK): """
        InvalidSecurity.RequestHasExpired RequestExpired RequestTimeTooSkewed""",
    (Verdict.REFUSED, _ACCOUNT): "Blocked OptInRequired PendingVerification",
    (Verdict.REFUSED, _QUOTA): """
        AddressLimitExceeded HostLimitExceeded InstanceLimitExceeded MaxIOPSLimitExceeded
        NetworkInterfaceLimitExceeded ResourceCountExceeded ResourceLimitExceeded
        VcpuLimitExceeded VolumeLimitExceeded""",
    (Verdict.REFUSED, _TEMPLATE): """
        InvalidLaunchTemplateId.Malformed InvalidLaunchTemplateId.NotFound
        InvalidLaunchTemplateId.VersionNotFound InvalidLaunchTemplateName.MalformedException
        InvalidLaunchTemplateName.NotFoundException""",
}

# What prints EC2's codes often says whose fault it was before them, and so does EC2 in some places.
_BY_CODE = {
    f"{fault}{code}": meaning
    for meaning, codes in _MEANINGS.items()
    for code in codes.split()
    for fault in ("", "Client.", "Server.")
}

LONGEST_MESSAGE = 300

NEEDS_TLS = (
    "ec2: TLS needs packages that are not installed: pip install '.[tls]' in a checkout of bbs"
)

TOLERANCE = 240.0
"""Seconds by which this machine's clock may be wrong. EC2 refuses what was signed five minutes
before its own time or after it, and a Date is as old as its answer."""


def judge(
    action: str, code: str, message: str, status: int, behind: float | None = None
) -> EC2Error:
    """The error for an answer of EC2's that says one.

    :param code: EC2's word for it, "" where the answer has none.
    :param status: HTTP's.
    :param behind: seconds by which this machine's clock is behind EC2's, if that is known.
    """
    if code in _BY_CODE:
        verdict, advice = _BY_CODE[code]
    elif status >= 500:
        verdict, advice = Verdict.AGAIN, ""
    elif status == 429:
        verdict, advice = Verdict.THROTTLED, ""
    else:
        verdict, advice = Verdict.REFUSED, _CONFIGURATION
    # EC2 says of a request with expired credentials that the request has expired.
    credentials = advice in (_CREDENTIALS, _CLOCK)
    quotes = advice == _CREDENTIALS  # EC2 can, of the request's authorization.
    if credentials and behind is not None:
        if abs(behind) > TOLERANCE:
            # New ones would not help.
            credentials, advice = False, f"{_clock(behind)}: {_CLOCK}"
        else:
            advice = _CREDENTIALS
    message = "" if quotes else _line(message).rstrip(".")
    said = ": ".join(filter(None, (code or f"HTTP {status}", message)))
    text = "; ".join(filter(None, (f"EC2 refuses {action}: {said}", advice)))
    return EC2Error(verdict, code or f"HTTP{status}", text, credentials=credentials)


def no_answer(action: str, why: str) -> EC2Error:
    """The error for an answer that is missing or malformed: nobody knows what was done. `why` is a
    word for it."""
    return EC2Error(Verdict.AGAIN, why, f"EC2 does not answer {action}: {why}")


def unready(action: str, error: Exception) -> EC2Error:
    """The error for an `error` of botocore's that kept a call from being asked.

    Raises `error` itself unless the network, the machine or the configuration can cause it.
    """
    kind = type(error).__name__
    if isinstance(error, EC2Error):
        return EC2Error(error.verdict, error.code, f"{action}: {error}")
    # Only a process that has imported botocore already can have one of its errors.
    from botocore import exceptions as botocore

    away = (
        OSError,
        botocore.ConnectionError,
        botocore.HTTPClientError,
        botocore.MetadataRetrievalError,
    )
    lacking = (
        botocore.NoCredentialsError,
        botocore.PartialCredentialsError,
        botocore.CredentialRetrievalError,
        botocore.ClientError,  # of the service that gives credentials
        botocore.ProfileNotFound,
        botocore.TokenRetrievalError,
    )
    if isinstance(error, away):
        text = f"{action}: the credentials cannot be asked for: {kind}"
        return EC2Error(Verdict.UNASKED, kind, text, credentials=True)
    if isinstance(error, lacking):
        text = f"{action}: {kind}; {_CREDENTIALS}"
        return EC2Error(Verdict.REFUSED, kind, text, credentials=True)
    if isinstance(error, RuntimeError):  # botocore's, of new credentials that have expired
        text = f"{action}: new credentials have expired already; {_CLOCK}"
        return EC2Error(Verdict.REFUSED, "ExpiredCredentials", text, credentials=True)
    if isinstance(error, botocore.BotoCoreError | ValueError):
        return EC2Error(Verdict.REFUSED, kind, f"{action}: {_line(str(error))}; {_CONFIGURATION}")
    raise error


def _clock(behind: float) -> str:
    seconds = abs(behind)
    if seconds >= 2 * 86400:
        span = f"{seconds / 86400:.0f} days"
    elif seconds >= 2 * 3600:
        span = f"{seconds / 3600:.0f} h"
    else:
        span = f"{seconds / 60:.0f} min"
    way = "behind" if behind > 0 else "ahead of"
    return f"this machine's clock is {span} {way} EC2's"


def _line(message: str) -> str:
    # A kilobyte of base64, for sts:DecodeAuthorizationMessage.
    message = message.partition("Encoded authorization failure message")[0]
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"
