"""Translates errors of the EC2 API into what the caller should do: one table.

botocore's standard retry mode (`botocore.retries.standard`) knows what is transient and what is
throttling; a test compares this table with its lists. Launches need more: that mode would retry if
capacity lacks and EC2 says so by HTTP 500, and it has no advice for operators. The codes are those
of "Error codes for the Amazon EC2 API" in EC2's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum


class Verdict(Enum):
    """The right reaction to an error."""

    UNASKED = "not asked; ask later"
    AGAIN = "done or not: ask again, under the same token"
    THROTTLED = "not done; do not ask for this action for a while"
    ELSEWHERE = "not done; try another instance type or subnet"
    NO_SPOT = "not done, and impossible as Spot"
    QUOTA = "not done; the quota of this instance family, on demand or as Spot, is reached"
    NOT_YET = "not done: EC2 does not know yet what was just made; ask later"
    NOT_NOW = "impossible in the instance's present state; ask later"
    NOT_FOUND = "unknown instance, perhaps only for now"
    TOKEN_USED = "the token belongs to another launch that exists"  # nosec B105 # not a secret
    TOKEN_ENDED = "the token's instance has ended"  # nosec B105 # not a secret
    REFUSED = "not done, and impossible until an operator acts"


LATER = (Verdict.UNASKED, Verdict.AGAIN, Verdict.THROTTLED, Verdict.NOT_YET)
"""Verdicts that say nothing about the request itself."""

LACKS = (Verdict.ELSEWHERE, Verdict.NO_SPOT, Verdict.QUOTA)
"""Verdicts after which another strategy may work."""


class Remedy(Enum):
    """What lets a refused call through without an operator."""

    CREDENTIALS = "newer credentials, if there are any"
    CLOCK = "a signature by EC2's clock"
    PATIENCE = "a moment, in which a change of IAM spreads"


class EC2Error(Exception):
    """A failed call of the EC2 API. The text is one line for operators, free of secrets.
    `doubtful`: it may have been carried out, by this try or an earlier one. `remedy`: what may help
    if it was refused."""

    def __init__(
        self, verdict: Verdict, code: str, text: str, remedy: Remedy | None = None
    ) -> None:
        super().__init__(text)
        self.verdict, self.code = verdict, code
        self.doubtful = verdict is Verdict.AGAIN
        self.remedy = remedy


_CREDENTIALS = "give the login server credentials: an instance profile, or AWS_* variables"
_QUOTA = "raise the account's quota (Service Quotas, Amazon EC2), or lower fleet.maximum"
_RIGHTS = "the login server's role lacks a right (docs/aws.md has the policy)"
_ACCOUNT = "the AWS account is not ready for it: look at its console"
_CLOCK = "set this machine's clock"
_CONFIGURATION = "correct [ec2] in the configuration"
_PROFILE = (
    "create this instance profile with a role in it, or correct ec2.iam_instance_profile or the"
    " launch template"
)
_TEMPLATE = "correct ec2.launch_template in the configuration, or the template"
_SPOT_ROLE = (
    "have an administrator run once: aws iam create-service-linked-role"
    " --aws-service-name spot.amazonaws.com"
)

_MEANINGS: Mapping[tuple[Verdict, str], str] = {
    (Verdict.AGAIN, ""): """
        ConcurrentTagAccess InternalError InternalFailure RequestTimeout RequestTimeoutException
        ServerInternal ServiceUnavailable Unavailable""",
    # botocore lists PriorRequestNotComplete both as transient and as throttling.
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
        UnavailableHostRequirements UnfulfillableCapacity Unsupported UnsupportedHostConfiguration
        UnsupportedInstanceTypeOnHost UnsupportedOperation VolumeTypeNotAvailableInZone""",
    (Verdict.NO_SPOT, _QUOTA): "RequestResourceCountExceeded",
    (Verdict.QUOTA, _QUOTA): "MaxSpotInstanceCountExceeded VcpuLimitExceeded",
    (Verdict.NO_SPOT, _SPOT_ROLE): "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    (Verdict.NOT_NOW, ""): """
        IncorrectInstanceState IncorrectState InvalidInstanceState InvalidState""",
    (Verdict.NOT_FOUND, ""): "InvalidInstanceID.NotFound",
    (Verdict.TOKEN_USED, ""): "IdempotentParameterMismatch",
    # Since January 2025; before, EC2 answered with the ended instance.
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
        VolumeLimitExceeded""",
    (Verdict.REFUSED, _TEMPLATE): """
        InvalidLaunchTemplateId.Malformed InvalidLaunchTemplateId.NotFound
        InvalidLaunchTemplateId.VersionNotFound InvalidLaunchTemplateName.MalformedException
        InvalidLaunchTemplateName.NotFoundException""",
}

# Many tools, and EC2 in some places, print whose fault it was before the code.
_BY_CODE = {
    f"{fault}{code}": meaning
    for meaning, codes in _MEANINGS.items()
    for code in codes.split()
    for fault in ("", "Client.", "Server.")
}

_OF_A_PROFILE = re.compile("iam ?instance ?profile", re.IGNORECASE)
"""In messages about an instance profile that EC2 does not know, or not with a role: for some ten
seconds after it was made, or for good. The code is that of any wrong value."""

_STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"

_QUOTAS: Mapping[str, tuple[str, str, str]] = {
    "f": ("F", "L-74FC7D96", "L-88CF9481"),
    "g": ("G and VT", "L-DB2E81BA", "L-3819A6DF"),
    "vt": ("G and VT", "L-DB2E81BA", "L-3819A6DF"),
    "p": ("P", "L-417A185B", "L-7212CCBC"),
    "x": ("X", "L-7295265B", "L-E3A00192"),
    "dl": ("DL", "L-6E869C2A", "L-85EED4F7"),
    "inf": ("Inf", "L-1945791B", "L-B5D1601B"),
    "trn": ("Trn", "L-2C3B7624", "L-6B0D517C"),
    "u": ("High Memory", "L-43DA4232", ""),
    "hpc": ("HPC", "L-F7808C92", ""),
    **dict.fromkeys(
        ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"),
        (_STANDARD, "L-1216C47A", "L-34B43A08"),
    ),
}
"""For the letters that types begin with: the family whose vCPUs EC2 counts together, and the codes
of its two quotas, on demand and Spot ("" if unknown). Names and codes are those of Service Quotas
("Amazon EC2 endpoints and quotas" in AWS's General Reference)."""


def family(kind: str) -> str:
    """The family of instance types with which a type shares its quotas."""
    letters = _letters(kind)
    return _QUOTAS[letters][0] if letters in _QUOTAS else letters


def quota(kind: str, spot: bool) -> str:
    """The name and code of the quota that counts a type on demand or as Spot; "" if unknown."""
    name, on_demand, as_spot = _QUOTAS.get(_letters(kind), ("", "", ""))
    if spot:
        return f"All {name} Spot Instance Requests ({as_spot})" if as_spot else ""
    return f"Running On-Demand {name} instances ({on_demand})" if name else ""


def _letters(kind: str) -> str:
    return re.match("[a-z]*", kind)[0]  # type: ignore[index]  # it matches anything


LONGEST_MESSAGE = 300

NEEDS_TLS = "ec2: TLS needs packages that are not installed: pip install 'txbbs[tls] >= 0.4'"

TOLERANCE = 240.0
"""Seconds by which this machine's clock may be wrong. EC2 refuses what was signed five minutes
before its own time or after it, and a Date is as old as its answer."""


def judge(
    action: str, code: str, message: str, status: int, behind: float | None = None
) -> EC2Error:
    """The error for an error in an answer of EC2: its `code` ("" if it has none), and `status` of
    HTTP. `behind`: seconds by which the clock that the call was signed by is behind EC2's, if
    known."""
    if code in _BY_CODE:
        verdict, advice = _BY_CODE[code]
    elif status >= 500:
        verdict, advice = Verdict.AGAIN, ""
    elif status == 429:
        verdict, advice = Verdict.THROTTLED, ""
    else:
        verdict, advice = Verdict.REFUSED, _CONFIGURATION
    remedy = None
    quotes = advice == _CREDENTIALS  # EC2 may quote the request's authorization.
    if code.endswith("InvalidParameterValue") and _OF_A_PROFILE.search(message):
        remedy, advice = Remedy.PATIENCE, _PROFILE
    elif advice in (_CREDENTIALS, _CLOCK):
        # If credentials have expired, EC2 says that the request has expired.
        remedy = Remedy.CREDENTIALS
        if behind is not None and abs(behind) > TOLERANCE:
            remedy, advice = Remedy.CLOCK, f"{clock_error(behind)}: {_CLOCK}"
        elif behind is not None:
            advice = _CREDENTIALS
    message = "" if quotes else _line(message).rstrip(".")
    answer = ": ".join(filter(None, (code or f"HTTP {status}", message)))
    text = "; ".join(filter(None, (f"EC2 refuses {action}: {answer}", advice)))
    return EC2Error(verdict, code or f"HTTP{status}", text, remedy)


def no_answer(action: str, why: str) -> EC2Error:
    """The error for a missing or malformed answer: nobody knows what was done. `why`: one word."""
    return EC2Error(Verdict.AGAIN, why, f"EC2 does not answer {action}: {why}")


def unready(action: str, error: Exception) -> EC2Error:
    """The error for an error of botocore before a call; raised again if it is a bug."""
    kind = type(error).__name__
    if isinstance(error, EC2Error):
        return EC2Error(error.verdict, error.code, f"{action}: {error}")
    # Not at the top: only a process that has already imported botocore gets its errors.
    from botocore import exceptions as aws

    away = (OSError, aws.ConnectionError, aws.HTTPClientError, aws.MetadataRetrievalError)
    lacking = (
        aws.NoCredentialsError,
        aws.PartialCredentialsError,
        aws.CredentialRetrievalError,
        aws.ClientError,  # of the service that gives credentials
        aws.ProfileNotFound,
        aws.TokenRetrievalError,
    )
    if isinstance(error, away):
        text = f"{action}: the credentials cannot be asked for: {kind}"
        return EC2Error(Verdict.UNASKED, kind, text)
    if isinstance(error, lacking):
        text = f"{action}: {kind}; {_CREDENTIALS}"
        return EC2Error(Verdict.REFUSED, kind, text)
    if isinstance(error, RuntimeError):  # botocore's, of new credentials that have expired
        text = f"{action}: new credentials have expired already; {_CLOCK}"
        return EC2Error(Verdict.REFUSED, "ExpiredCredentials", text)
    if isinstance(error, aws.BotoCoreError | ValueError):
        return EC2Error(Verdict.REFUSED, kind, f"{action}: {_line(str(error))}; {_CONFIGURATION}")
    raise error


def clock_error(behind: float) -> str:
    """By how much this machine's clock is wrong, from the seconds that it is `behind` EC2's."""
    seconds, way = abs(behind), "behind" if behind > 0 else "ahead of"
    units = (("days", 86400), ("h", 3600), ("min", 60))
    unit, length = next((each for each in units if seconds >= 2 * each[1]), units[-1])
    return f"this machine's clock is {seconds / length:.0f} {unit} {way} EC2's"


def _line(message: str) -> str:
    # Cut off a kilobyte of base64, for sts:DecodeAuthorizationMessage.
    message = message.partition("Encoded authorization failure message")[0]
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"
