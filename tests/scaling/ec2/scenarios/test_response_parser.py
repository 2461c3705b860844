"""Answers of EC2's API, beside what botocore makes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import hypothesis.strategies as st
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2.throttle import RATES
from bbs.scaling.ec2.transport import (
    LONGEST,
    Document,
    MalformedResponse,
    ResponseParser,
    error_in,
)
from tests.scaling.ec2.test_service_model import boto_client

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

MODEL: ServiceModel = boto_client().meta.service_model

INSTANCE = """
<item>
  <instanceId>i-0123456789abcdef0</instanceId><imageId>ami-1</imageId>
  <instanceState><code>16</code><name>running</name></instanceState>
  <privateDnsName/><dnsName></dnsName><reason>User initiated &lt;2026&gt; &amp; more</reason>
  <stateReason><code>Client.UserInitiatedShutdown</code>
    <message>naïve ☃ \U0001f600</message></stateReason>
  <amiLaunchIndex>0</amiLaunchIndex><productCodes/>
  <instanceType>t3.micro</instanceType><launchTime>2026-11-27T22:03:44.000Z</launchTime>
  <placement><availabilityZone>eu-central-1a</availabilityZone><tenancy>default</tenancy></placement>
  <monitoring><state>disabled</state></monitoring>
  <groupSet><item><groupId>sg-1</groupId><groupName>g</groupName></item></groupSet>
  <ebsOptimized>false</ebsOptimized><sourceDestCheck>true</sourceDestCheck>
  <somethingNew><deep><item>1</item></deep></somethingNew>
  <blockDeviceMapping><item><deviceName>/dev/sda1</deviceName><ebs><volumeId>vol-1</volumeId>
    <status>attached</status><attachTime>2026-11-27T22:03:45Z</attachTime>
    <deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>
  <tagSet>
    <item><key>bbs:launch</key><value>l-1</value></item><item><key>empty</key><value/></item>
    <item><key>blank</key><value>  a  b
c </value></item><item><key>cdata</key><value><![CDATA[<&>]]></value></item>
  </tagSet>
  <networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId>
    <attachment><attachTime>2026-11-27T22:03:44.123Z</attachTime><deviceIndex>0</deviceIndex></attachment>
    <privateIpAddressesSet><item><privateIpAddress>10.0.0.1</privateIpAddress><primary>true</primary>
      <association><publicIp>1.2.3.4</publicIp></association></item>
      <item><privateIpAddress>10.0.0.2</privateIpAddress><primary>false</primary></item>
    </privateIpAddressesSet><ipv6AddressesSet/></item></networkInterfaceSet>
  <cpuOptions><coreCount>1</coreCount><threadsPerCore>2</threadsPerCore></cpuOptions>
  <metadataOptions><state>applied</state><httpTokens>required</httpTokens>
    <httpPutResponseHopLimit>1</httpPutResponseHopLimit></metadataOptions>
</item>
"""

RESERVATION = f"""<item><reservationId>r-1</reservationId><ownerId>123456789012</ownerId><groupSet/>
<instancesSet>{INSTANCE}{INSTANCE}</instancesSet></item>"""

ANSWERS = [
    ("DescribeInstances", ""),
    ("DescribeInstances", "<requestId>r</requestId><reservationSet/>"),
    ("DescribeInstances", f"<reservationSet>{RESERVATION * 3}</reservationSet><nextToken/>"),
    ("DescribeInstances", "<reservationSet/><nextToken>a+b/c==</nextToken>"),
    ("RunInstances", RESERVATION.removeprefix("<item>").removesuffix("</item>")),
    (
        "TerminateInstances",
        """<instancesSet><item><instanceId>i-1</instanceId><currentState><code>32</code>
        <name>shutting-down</name></currentState><previousState><code>16</code><name>running</name>
        </previousState></item></instancesSet>""",
    ),
    (
        "DescribeImages",
        """<imagesSet><item><imageId>ami-1</imageId><isPublic>true</isPublic>
        <rootDeviceName>/dev/sda1</rootDeviceName><blockDeviceMapping><item>
        <deviceName>/dev/sda1</deviceName><ebs><volumeSize>8</volumeSize></ebs></item><item>
        <deviceName>/dev/sdb</deviceName><virtualName>ephemeral0</virtualName></item>
        </blockDeviceMapping></item></imagesSet>""",
    ),
    (
        "DescribeLaunchTemplateVersions",
        """<launchTemplateVersionSet><item><launchTemplateId>lt-1</launchTemplateId>
        <versionNumber>3</versionNumber><defaultVersion>true</defaultVersion>
        <createTime>2026-11-27T22:03:44.000Z</createTime><launchTemplateData>
        <securityGroupIdSet><item>sg-1</item><item>sg-2</item></securityGroupIdSet>
        <networkInterfaceSet><item><deviceIndex>0</deviceIndex><groupSet>
        <groupId>sg-1</groupId></groupSet></item></networkInterfaceSet>
        </launchTemplateData></item></launchTemplateVersionSet>""",
    ),
    (
        "DescribeLaunchTemplates",
        """<launchTemplates><item><launchTemplateId>lt-1</launchTemplateId>
        <launchTemplateName>bbs-l</launchTemplateName><tagSet><item><key>bbs:launch</key>
        <value>l</value></item></tagSet></item></launchTemplates><nextToken>n</nextToken>""",
    ),
    (
        "CreateFleet",
        """<fleetId>fleet-1</fleetId><errorSet><item><errorCode>UnfulfillableCapacity</errorCode>
        <errorMessage>because</errorMessage><launchTemplateAndOverrides><overrides>
        <instanceType>t3.micro</instanceType><subnetId>s-1</subnetId></overrides>
        </launchTemplateAndOverrides><lifecycle>spot</lifecycle></item></errorSet>
        <fleetInstanceSet><item><instanceIds><item>i-1</item></instanceIds>
        <instanceType>t3.small</instanceType><lifecycle>spot</lifecycle></item>
        </fleetInstanceSet>""",
    ),
    (
        "CreateLaunchTemplate",
        """<launchTemplate><launchTemplateId>lt-1</launchTemplateId>
        <launchTemplateName>bbs-l</launchTemplateName><tagSet/></launchTemplate>""",
    ),
    ("CreateTags", "<requestId>r</requestId><return>true</return>"),
    (
        "DeleteLaunchTemplate",
        "<launchTemplate><launchTemplateId>lt-1</launchTemplateId></launchTemplate>",
    ),
    ("StartInstances", "<instancesSet><item><instanceId>i-1</instanceId></item></instancesSet>"),
    ("StopInstances", "<instancesSet><item/></instancesSet>"),
]
"""As EC2 answers: empty and missing things, odd characters, fields that nobody knows, lists in
lists."""


def whole(action: str, inside: str) -> bytes:
    name = f"{action}Response"
    return f'<?xml version="1.0"?>\n<{name} xmlns="{NAMESPACE}">{inside}</{name}>'.encode()


def read(action: str, body: bytes, size: int = 65536) -> dict[str, Any]:
    """What is made of an answer that arrives in pieces of a size."""
    document = Document()
    for start in range(0, len(body), size):
        document.feed(body[start : start + size])
    answer: dict[str, Any] = {}
    reader = ResponseParser(MODEL.operation_model(action).output_shape)
    for _ in reader.steps(document.root(), answer):
        pass
    return answer


def read_by_botocore(action: str, body: bytes) -> Any:
    shape: Any = MODEL.operation_model(action).output_shape
    heard = {"status_code": 200, "headers": {}, "body": body}
    answer = create_parser("ec2").parse(heard, shape)
    answer.pop("ResponseMetadata", None)
    return answer


class Answers(SynchronousTestCase):
    """Answers."""

    def test_as_botocore(self) -> None:
        """Every answer is read as botocore's own parser reads it, in pieces of any size."""
        self.assertEqual({action for action, _ in ANSWERS}, set(RATES))
        for action, inside in ANSWERS:
            body = whole(action, inside)
            theirs = read_by_botocore(action, body)
            for size in (1, 7, 65536):
                self.assertEqual(read(action, body, size), theirs, action)

    def test_moments(self) -> None:
        """They have UTC's zone."""
        for text in ("2026-11-27T22:03:44.500Z", "2026-11-27T22:03:44.500"):
            inside = (
                f"<imagesSet><item><lastLaunchedTime>{text}</lastLaunchedTime></item></imagesSet>"
            )
            inside = inside.replace("imagesSet", "instancesSet").replace(
                "lastLaunchedTime", "launchTime"
            )
            (instance,) = read("RunInstances", whole("RunInstances", inside))["Instances"]
            moment = datetime(2026, 11, 27, 22, 3, 44, 500000, tzinfo=UTC)
            self.assertEqual(instance["LaunchTime"], moment)

    @given(
        st.lists(
            st.tuples(
                st.text(
                    st.characters(
                        codec="utf-8",
                        exclude_categories=["Cc", "Cs"],
                        exclude_characters="\ufffe\uffff",
                    )
                ),
                st.booleans(),
            )
        )
    )
    def test_any_text(self, tags: list[tuple[str, bool]]) -> None:
        items = "".join(
            f"<item><key>{escape(text)}</key>" + ("<value/>" if empty else "") + "</item>"
            for text, empty in tags
        )
        inside = f"<instancesSet><item><tagSet>{items}</tagSet></item></instancesSet>"
        body = whole("RunInstances", inside)
        self.assertEqual(read("RunInstances", body), read_by_botocore("RunInstances", body))

    def test_in_steps(self) -> None:
        """A list pauses after each item."""
        document = Document()
        document.feed(
            whole("DescribeInstances", f"<reservationSet>{RESERVATION * 5}</reservationSet>")
        )
        answer: dict[str, Any] = {}
        reader = ResponseParser(MODEL.operation_model("DescribeInstances").output_shape)
        seen = [len(answer["Reservations"]) for _ in reader.steps(document.root(), answer)]
        self.assertEqual(seen, [1, 2, 3, 4, 5])


class NoAnswers(SynchronousTestCase):
    """What is none."""

    def refused(self, body: bytes, why: str, size: int = 65536) -> None:
        with self.assertRaises(MalformedResponse) as caught:
            read("DescribeInstances", body, size)
        self.assertEqual(str(caught.exception), why)

    def test_cut_short(self) -> None:
        """Wherever it ends too early."""
        body = whole("DescribeInstances", f"<reservationSet>{RESERVATION}</reservationSet>")
        for end in range(1, len(body), 37):
            self.refused(body[:end], "CutShort")
        self.refused(b"", "Empty")

    def test_garbage(self) -> None:
        for body in (b"\x00\xff" * 100, b"{}", b"<a></b>", b"<a/><b/>"):
            self.refused(body, "NoXML")

    def test_page(self) -> None:
        """HTML, and whatever has a document type: entities that grow are among those."""
        bomb = b"".join(
            [
                b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">',
                b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>',
            ]
        )
        for body in (b"<!DOCTYPE html><html><body>Busy</body></html>", bomb):
            self.refused(body, "NoXML")

    def test_too_long(self) -> None:
        self.refused(whole("DescribeInstances", " " * LONGEST), "TooLong")

    def test_odd_values(self) -> None:
        """A number or a moment that is none."""
        for name, value in (("launchTime", "yesterday"), ("amiLaunchIndex", "one")):
            inside = f"<instancesSet><item><{name}>{value}</{name}></item></instancesSet>"
            with self.assertRaisesRegex(MalformedResponse, "OddValue"):
                read("RunInstances", whole("RunInstances", inside))


class Errors(SynchronousTestCase):
    """Errors that are answered."""

    def error(self, body: bytes) -> tuple[str, str] | None:
        document = Document()
        document.feed(body)
        return error_in(document.root())

    def test_ec2s(self) -> None:
        body = b"""<?xml version="1.0" encoding="UTF-8"?>
        <Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code>
        <Message>The instance ID 'i-1' does not exist</Message></Error></Errors>
        <RequestID>r</RequestID></Response>"""
        self.assertEqual(
            self.error(body),
            ("InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist"),
        )

    def test_others(self) -> None:
        """What stands before EC2, as for signatures, answers in another form."""
        body = b'<ErrorResponse xmlns="http://h"><Error><Code>Throttling</Code></Error></ErrorResponse>'
        self.assertEqual(self.error(body), ("Throttling", ""))
        self.assertIs(self.error(b"<html><body>Busy</body></html>"), None)
        self.assertEqual(self.error(b"<Response><Errors><Error/></Errors></Response>"), ("", ""))
