"""What errors of EC2 mean."""

import json
import re
from types import SimpleNamespace
from typing import Any

from botocore import exceptions
from botocore.loaders import create_loader
from botocore.retries import standard
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2.errors import (
    LONGEST_MESSAGE,
    TOLERANCE,
    EC2Error,
    Remedy,
    Verdict,
    family,
    judge,
    no_answer,
    quota,
    unready,
)

HOUR, DAY = 3600.0, 86400.0


RETRIES = create_loader().load_data("_retry")
THROTTLED, TRANSIENT = standard.ThrottledRetryableChecker(), standard.TransientRetryableChecker()

CODES = {"SlowDown", *re.findall(r'"service_error_code": "(\w+)"', json.dumps(RETRIES))}
"""What botocore's description of retries names, and what its standard mode knows beside."""


def is_retryable(checker, code, status=400):
    """Whether one of botocore's standard mode takes an error for one that passes."""
    response: Any = SimpleNamespace(status_code=status)
    answer = {"Error": {"Code": code}}
    context = standard.RetryContext(1, parsed_response=answer, http_response=response)
    return checker.is_retryable(context)


def judged(code, status=400, message="because", behind=None):
    """What an error that EC2 answered to RunInstances means."""
    return judge("RunInstances", code, message, status, behind)


class Codes(SynchronousTestCase):
    """Errors that EC2 answers."""

    def verdict(self, code, status=400):
        return judged(code, status).verdict

    def test_botocores_throttling(self):
        """What botocore's standard mode takes for throttling is throttling here."""
        throttled = [code for code in CODES if is_retryable(THROTTLED, code)]
        self.assertGreater(len(throttled), 10)
        for code in throttled:
            self.assertIs(self.verdict(code), Verdict.THROTTLED, code)
        self.assertIs(self.verdict("AnyName", 429), Verdict.THROTTLED)

    def test_botocores_transient(self):
        """What botocore's standard mode takes for transient is asked again here."""
        transient = [code for code in CODES if is_retryable(TRANSIENT, code)]
        self.assertGreater(len(transient), 2)
        for code in transient:
            self.assertIn(self.verdict(code), (Verdict.AGAIN, Verdict.THROTTLED), code)
        statuses = [each for each in range(400, 600) if is_retryable(TRANSIENT, "AnyName", each)]
        self.assertGreater(len(statuses), 3)
        for status in statuses:
            self.assertIs(self.verdict("AnyName", status), Verdict.AGAIN, status)

    def test_capacity(self):
        """Lack of capacity is for another type or subnet, though it comes as HTTP 500."""
        self.assertIs(self.verdict("InsufficientInstanceCapacity", 500), Verdict.ELSEWHERE)
        self.assertIs(self.verdict("Unsupported"), Verdict.ELSEWHERE)
        self.assertIs(self.verdict("InsufficientFreeAddressesInSubnet"), Verdict.ELSEWHERE)

    def test_documented(self):
        """The codes that EC2's reference lists, of those that launching, ending, stopping and
        starting can meet: everything else is for an operator."""
        for verdict, codes in (
            (
                Verdict.ELSEWHERE,
                """IncompatibleHostRequirements InsufficientAddressCapacity InsufficientCapacity
                InsufficientCapacityOnHost InsufficientFreeAddressesInSubnet
                InsufficientHostCapacity InsufficientInstanceCapacity
                InsufficientReservedInstanceCapacity InsufficientVolumeCapacity
                ReservationCapacityExceeded SpotMaxPriceTooLow UnavailableHostRequirements
                Unsupported UnsupportedInstanceTypeOnHost UnsupportedOperation
                VolumeTypeNotAvailableInZone""",
            ),
            (Verdict.AGAIN, "ConcurrentTagAccess InternalError InternalFailure Unavailable"),
            (Verdict.QUOTA, "MaxSpotInstanceCountExceeded VcpuLimitExceeded"),
            (Verdict.NOT_NOW, "IncorrectInstanceState IncorrectState InvalidState"),
            (Verdict.TOKEN_USED, "IdempotentParameterMismatch"),
            (Verdict.TOKEN_ENDED, "IdempotentInstanceTerminated"),
            (
                Verdict.REFUSED,
                """Blocked CustomerKeyHasBeenRevoked DefaultVpcDoesNotExist InstanceLimitExceeded
                InvalidAMIID.Unavailable InvalidBlockDeviceMapping InvalidGroup.NotFound
                InvalidKeyPair.NotFound InvalidParameterCombination InvalidSubnetID.NotFound
                InvalidLaunchTemplateId.Malformed InvalidLaunchTemplateId.NotFound
                InvalidLaunchTemplateId.VersionNotFound
                InvalidLaunchTemplateName.MalformedException
                InvalidLaunchTemplateName.NotFoundException OperationNotPermitted
                PendingVerification SecurityGroupsPerInterfaceLimitExceeded TagLimitExceeded
                UnauthorizedOperation VPCIdNotSpecified ValidationError VolumeLimitExceeded""",
            ),
        ):
            for code in codes.split():
                self.assertIs(self.verdict(code), verdict, code)

    def test_whose_fault(self):
        """A code may say before itself whose fault it was."""
        self.assertIs(self.verdict("Client.IdempotentInstanceTerminated"), Verdict.TOKEN_ENDED)
        status = 500
        code = "Server.InsufficientInstanceCapacity"
        self.assertIs(self.verdict(code, status), Verdict.ELSEWHERE)

    def test_not_found(self):
        self.assertIs(self.verdict("InvalidInstanceID.NotFound"), Verdict.NOT_FOUND)

    def test_token(self):
        self.assertIs(self.verdict("IdempotentParameterMismatch"), Verdict.TOKEN_USED)

    def test_operators(self):
        """What an operator must do is said."""
        for code, advice in (
            ("UnauthorizedOperation", "lacks a right"),
            ("AuthFailure", "credentials"),
            ("InvalidAMIID.NotFound", r"\[ec2\]"),
            ("InvalidParameterValue", r"\[ec2\]"),
            ("InstanceLimitExceeded", "fleet.maximum"),
            ("OptInRequired", "account"),
            ("InvalidLaunchTemplateId.VersionNotFound", "ec2.launch_template"),
            ("RequestExpired", "clock"),
        ):
            error = judged(code)
            self.assertIs(error.verdict, Verdict.REFUSED, code)
            self.assertRegex(str(error), f"^EC2 refuses RunInstances: {code}.*; .*{advice}")
        for code in ("MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"):
            self.assertIn("quota", str(judge("RunInstances", code, "", 400)))
        code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
        error = judge("RunInstances", code, "", 400)
        self.assertIn("create-service-linked-role", str(error))

    def test_doubtful(self):
        """After an error that says nothing the call may have been carried out."""
        self.assertTrue(judged("InternalError", 500).doubtful)
        self.assertFalse(judged("RequestLimitExceeded").doubtful)

    def test_no_secrets(self):
        """What EC2 says about credentials can quote them, and is not repeated."""
        quoting = judged("IncompleteSignature", message="Credential=AKIA/us Signature=abc")
        self.assertNotIn("AKIA", str(quoting))

    def test_one_line(self):
        message = "You may not.\nEncoded authorization failure message: kilobytes"
        text = str(judged("UnauthorizedOperation", message=message))
        self.assertIn("You may not; ", text)
        self.assertNotIn("kilobytes", text)
        text = str(judged("Odd", message="a\n" * 500))
        self.assertNotIn("\n", text)
        self.assertLess(len(text), LONGEST_MESSAGE + 150)

    def test_no_code(self):
        """A server that answers without EC2's words: its status says what to do."""
        self.assertIs(judged("", 503).verdict, Verdict.AGAIN)
        self.assertIs(judged("", 429).verdict, Verdict.THROTTLED)
        self.assertEqual(str(judged("", 503, "")), "EC2 refuses RunInstances: HTTP 503")

    def test_no_answer(self):
        """Nobody knows what was done."""
        error = no_answer("RunInstances", "ConnectionLost")
        self.assertIs(error.verdict, Verdict.AGAIN)
        self.assertTrue(error.doubtful)
        self.assertEqual(str(error), "EC2 does not answer RunInstances: ConnectionLost")


class Quotas(SynchronousTestCase):
    """What EC2 counts together, and what it calls that."""

    def test_names(self):
        for kind, on_demand, spot in (
            ("t3.micro", "L-1216C47A", "L-34B43A08"),
            ("im4gn.large", "L-1216C47A", "L-34B43A08"),
            ("g4dn.xlarge", "L-DB2E81BA", "L-3819A6DF"),
            ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
            ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ):
            self.assertIn(f"({on_demand})", quota(kind, spot=False), kind)
            self.assertIn(f"({spot})", quota(kind, spot=True), kind)
        self.assertEqual(
            quota("t3.micro", spot=False),
            "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances (L-1216C47A)",
        )
        self.assertEqual(
            quota("m7i.large", spot=True),
            "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests (L-34B43A08)",
        )
        self.assertEqual(
            quota("u-6tb1.metal", spot=False),
            "Running On-Demand High Memory instances (L-43DA4232)",
        )

    def test_unknown(self):
        """It is a family of its own, and nothing is called by a guess."""
        self.assertEqual((family("q9.huge"), quota("q9.huge", spot=False)), ("q", ""))
        self.assertEqual(quota("hpc7a.12xlarge", spot=True), "")
        self.assertNotEqual(family("q9.huge"), family("t3.micro"))


class Profiles(SynchronousTestCase):
    """Instance profiles that EC2 does not know, or not yet."""

    def test_may_be_new(self):
        """The value is named, and what to do if it is not."""
        for message in (
            "Value (bbs-app) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance"
            " Profile name",
            "Value (arn:aws:iam::1:instance-profile/bbs-app) for parameter iamInstanceProfile.arn"
            " is invalid. Invalid IAM Instance Profile ARN",
            'IAM Instance Profile "arn:aws:iam::1:instance-profile/bbs-app" has no associated IAM'
            " Roles",
        ):
            for code in ("InvalidParameterValue", "Client.InvalidParameterValue"):
                error = judged(code, message=message)
                self.assertIs(error.verdict, Verdict.REFUSED)
                self.assertIs(error.remedy, Remedy.PATIENCE)
                self.assertRegex(str(error), "bbs-app.*; create this instance profile")

    def test_other_values(self):
        for code, message in (
            ("InvalidParameterValue", "Value (x) for parameter subnetId is invalid"),
            ("UnauthorizedOperation", "not authorized to pass the IAM Instance Profile"),
        ):
            self.assertIsNone(judged(code, message=message).remedy)


class Clocks(SynchronousTestCase):
    """Signatures that are refused: for the credentials, or for this machine's clock."""

    CODES = ("AuthFailure", "RequestExpired", "SignatureDoesNotMatch", "RequestTimeTooSkewed")

    def test_wrong(self):
        """By how much is said, and no other credentials are fetched for it."""
        for code in self.CODES:
            for behind, said in (
                (DAY, "24 h behind"),
                (-DAY, "24 h ahead of"),
                (30 * DAY, "30 days behind"),
                (600.0, "10 min behind"),
            ):
                error = judged(code, 403, behind=behind)
                self.assertIs(error.verdict, Verdict.REFUSED)
                self.assertIs(error.remedy, Remedy.CLOCK)
                words = f"this machine's clock is {said} EC2's: set this machine's clock"
                self.assertIn(words, str(error))

    def test_right(self):
        """Then it was the credentials, which may have expired."""
        for code in self.CODES:
            for behind in (0.0, TOLERANCE, -TOLERANCE):
                error = judged(code, 403, behind=behind)
                self.assertIs(error.remedy, Remedy.CREDENTIALS)
                self.assertIn("credentials", str(error))
                self.assertNotIn("clock", str(error))

    def test_says_nothing_about_others(self):
        """A refusal that has nothing to do with it does not blame the clock."""
        error = judged("UnauthorizedOperation", 403, behind=DAY)
        self.assertNotIn("clock", str(error))
        self.assertIsNone(error.remedy)


class Unready(SynchronousTestCase):
    """Errors before anything was asked."""

    def unready(self, error):
        judged = unready("RunInstances", error)
        self.assertFalse(judged.doubtful)
        self.assertNotIn("hunter2", str(judged))
        return judged

    def test_away(self):
        """What gives credentials is away: later they can be had."""
        for error in (
            exceptions.ConnectTimeoutError(endpoint_url="http://h"),
            exceptions.MetadataRetrievalError(error_msg="hunter2"),
            ConnectionResetError("reset"),
        ):
            self.assertIs(self.unready(error).verdict, Verdict.UNASKED)

    def test_credentials(self):
        for error in (
            exceptions.NoCredentialsError(),
            exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            exceptions.CredentialRetrievalError(provider="process", error_msg="hunter2"),
        ):
            judged = self.unready(error)
            self.assertIs(judged.verdict, Verdict.REFUSED)
            self.assertIn("credentials", str(judged))

    def test_expired_already(self):
        """New credentials that have expired: one of the clocks is wrong."""
        self.assertIn("clock", str(self.unready(RuntimeError("refreshed, but still expired"))))

    def test_configuration(self):
        for error in (exceptions.NoRegionError(), ValueError("Invalid endpoint: x")):
            judged = self.unready(error)
            self.assertIs(judged.verdict, Verdict.REFUSED)
            self.assertIn("[ec2]", str(judged))

    def test_ours(self):
        """What has been judged already only gets the name of the call."""
        judged = self.unready(EC2Error(Verdict.REFUSED, "NoTLS", "ec2: TLS needs packages"))
        self.assertEqual(str(judged), "RunInstances: ec2: TLS needs packages")

    def test_bug(self):
        """Anything else is a bug, and stays what it is."""
        self.assertRaises(ZeroDivisionError, unready, "RunInstances", ZeroDivisionError())
