"""What errors of EC2 mean."""

from typing import Any

from botocore import exceptions, parsers
from botocore.retries import standard
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2.errors import LONGEST_MESSAGE, Verdict, judge
from tests.ec2_tools import client_error


class Codes(SynchronousTestCase):
    """Errors that EC2 answers."""

    def verdict(self, code, status=400):
        return judge("RunInstances", client_error(code, status)).verdict

    def test_botocores_throttling(self):
        """What botocore's standard mode takes for throttling is throttling here."""
        throttled: Any = standard.ThrottledRetryableChecker
        for code in throttled._THROTTLED_ERROR_CODES:
            self.assertIs(self.verdict(code), Verdict.THROTTLED, code)
        self.assertIs(self.verdict("AnyName", 429), Verdict.THROTTLED)

    def test_botocores_transient(self):
        """What botocore's standard mode takes for transient is asked again here."""
        transient: Any = standard.TransientRetryableChecker
        for code in transient._TRANSIENT_ERROR_CODES:
            self.assertIn(self.verdict(code), (Verdict.AGAIN, Verdict.THROTTLED), code)
        for status in transient._TRANSIENT_STATUS_CODES:
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
            (Verdict.NO_SPOT, "MaxSpotInstanceCountExceeded"),
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
            ("VcpuLimitExceeded", "quota"),
            ("InstanceLimitExceeded", "fleet.maximum"),
            ("OptInRequired", "account"),
            ("InvalidLaunchTemplateId.VersionNotFound", "ec2.launch_template"),
            ("RequestExpired", "clock"),
        ):
            error = judge("RunInstances", client_error(code))
            self.assertIs(error.verdict, Verdict.REFUSED, code)
            self.assertRegex(str(error), f"^EC2 refuses RunInstances: {code}.*; .*{advice}")
        error = judge("RunInstances", client_error("MaxSpotInstanceCountExceeded"))
        self.assertIn("quota", str(error))
        code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
        error = judge("RunInstances", client_error(code))
        self.assertIn("create-service-linked-role", str(error))

    def test_doubtful(self):
        """After an error that says nothing the call may have been carried out."""
        self.assertTrue(judge("RunInstances", client_error("InternalError", 500)).doubtful)
        self.assertFalse(judge("RunInstances", client_error("RequestLimitExceeded")).doubtful)

    def test_no_secrets(self):
        """What EC2 says about credentials can quote them, and is not repeated."""
        quoting = client_error("IncompleteSignature", message="Credential=AKIA/us Signature=abc")
        self.assertNotIn("AKIA", str(judge("RunInstances", quoting)))

    def test_one_line(self):
        message = "You may not.\nEncoded authorization failure message: kilobytes"
        text = str(judge("RunInstances", client_error("UnauthorizedOperation", message=message)))
        self.assertIn("You may not.; ", text)
        self.assertNotIn("kilobytes", text)
        text = str(judge("RunInstances", client_error("Odd", message="a\n" * 500)))
        self.assertNotIn("\n", text)
        self.assertLess(len(text), LONGEST_MESSAGE + 150)


class NoAnswers(SynchronousTestCase):
    """Errors that are no answers."""

    def test_no_answer(self):
        """The network fails, or what comes is no answer: nobody knows what was done."""
        for error in (
            exceptions.ConnectTimeoutError(endpoint_url="http://h"),
            exceptions.ReadTimeoutError(endpoint_url="http://h"),
            exceptions.EndpointConnectionError(endpoint_url="http://h", error="refused"),
            exceptions.ConnectionClosedError(endpoint_url="http://h"),
            exceptions.SSLError(endpoint_url="http://h", error=ValueError("bad")),
            exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            parsers.ResponseParserError("half an answer"),
            ConnectionResetError("reset"),
        ):
            judged = judge("RunInstances", error)
            self.assertIs(judged.verdict, Verdict.AGAIN, error)
            self.assertRegex(str(judged), "EC2 does not answer RunInstances: [A-Z]")

    def test_credentials(self):
        for error in (
            exceptions.NoCredentialsError(),
            exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            exceptions.CredentialRetrievalError(provider="process", error_msg="hunter2"),
        ):
            judged = judge("RunInstances", error)
            self.assertIs(judged.verdict, Verdict.REFUSED)
            self.assertIn("credentials", str(judged))
            self.assertNotIn("hunter2", str(judged))

    def test_configuration(self):
        for error in (exceptions.NoRegionError(), ValueError("Invalid endpoint: x")):
            judged = judge("RunInstances", error)
            self.assertIs(judged.verdict, Verdict.REFUSED)
            self.assertIn("[ec2]", str(judged))

    def test_bug(self):
        """Anything else is a bug, and stays what it is."""
        self.assertRaises(ZeroDivisionError, judge, "RunInstances", ZeroDivisionError())
