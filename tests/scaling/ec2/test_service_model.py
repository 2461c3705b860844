"""What is asked of EC2 and where, beside what boto3 asks."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import boto3
from botocore import auth
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.loaders import create_loader
from botocore.model import OperationNotFoundError
from botocore.session import Session
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate, optionsForClientTLS
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connect, makeFakeClient, makeFakeServer
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2, ConfigError
from bbs.scaling.ec2 import instances, service_model
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.launch_request import Basis, LaunchStrategy, run_instances
from bbs.scaling.ec2.spot_fleet import create_fleet, create_template, fleet_of, spot_pools
from bbs.scaling.ec2.throttle import RATES
from bbs.scaling.providers import LaunchKit
from tests.certificates import Signed, certificate

KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "secret-of-the-tests", "token/of+a=session")
NOW = datetime(2026, 11, 27, 22, 3, 44, tzinfo=UTC)
WAY = LaunchStrategy("t3.micro", None)
CONFIG = EC2(region="eu-central-1", image_id="ami-1", instance_type=("t3.micro",))
SPOT = replace(CONFIG, instance_type=("t3.micro", "m5.large"), subnet_ids=("s-1",), spot=True)
BARE = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

ODD = 'naïve & <b> "q" 100 % a+b=c\t☃ ~-._*\'()'
TAGS = [{"Key": "Name", "Value": "bbs"}, {"Key": "bbs:launch", "Value": ODD}]


def launch(
    way: LaunchStrategy = WAY,
    data: str = "#!/bin/sh",
    template: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """RunInstances as the provider asks for it."""
    config = replace(CONFIG, **changes)
    image = {
        "RootDeviceName": "/dev/sda1",
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}],
    }
    basis = Basis(template or {}, image)
    return run_instances(config, "l-1", way, data, basis, "1.0", "0123456789abcdef")


CALLS: list[tuple[str, Mapping[str, Any]]] = [
    ("describe_images", {"ImageIds": ["ami-1", "ami-2"]}),
    ("describe_instances", {}),
    ("describe_instances", {"Filters": [], "MaxResults": 50}),
    (
        "describe_instances",
        {
            "Filters": [
                {"Name": "tag:bbs:fleet-id", "Values": ["0123456789abcdef"]},
                {"Name": "tag:bbs:launch", "Values": [f"launch-{n}" for n in range(100)]},
                {"Name": "tag:odd", "Values": [ODD, ""]},
            ],
            "MaxResults": 50,
            "NextToken": "a+b/c==",
        },
    ),
    ("describe_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
    (
        "describe_launch_template_versions",
        {"LaunchTemplateName": "bbs", "Versions": ["$Default", "3"], "ResolveAlias": True},
    ),
    ("describe_launch_template_versions", {"LaunchTemplateId": "lt-1", "Versions": ["$Latest"]}),
    (
        "describe_launch_templates",
        {
            "Filters": [{"Name": "tag:bbs:fleet-id", "Values": ["0123456789abcdef"]}],
            "MaxResults": 200,
            "NextToken": "a+b/c==",
        },
    ),
    # boto3 adds a ClientToken of its own.
    (
        "create_launch_template",
        {
            "ClientToken": "t",
            **create_template("bbs-l", launch(), {"CpuOptions": {"CoreCount": 1}}),
        },
    ),
    ("create_tags", {"Resources": ["i-1"], "Tags": [{"Key": "bbs:launch", "Value": ODD}]}),
    ("delete_launch_template", {"LaunchTemplateName": "bbs-l"}),
    ("create_fleet", create_fleet("l", fleet_of(SPOT, spot_pools(SPOT)))),
    ("run_instances", launch()),
    ("run_instances", launch(data=ODD * 100)),
    ("run_instances", launch(LaunchStrategy("t3.small", "subnet-1"), address="public")),
    (
        "run_instances",
        launch(
            LaunchStrategy("t3.small", "subnet-1"),
            address="dns",
            security_group_ids=("sg-1", "sg-2"),
            key_name="operators",
            iam_instance_profile="arn:aws:iam::1:instance-profile/bbs-app",
        ),
    ),
    (
        "run_instances",
        launch(
            LaunchStrategy("t3.small", "subnet-1"),
            address="private",
            security_group_ids=("sg-1",),
            iam_instance_profile="bbs-app",
        ),
    ),
    ("run_instances", launch(launch_template="bbs", image_id="")),
    (
        "run_instances",
        launch(LaunchStrategy("t3.small", "subnet-1", True), launch_template="lt-1:7"),
    ),
    *(
        (
            "run_instances",
            launch(
                LaunchStrategy("t3.small", "subnet-1"),
                template={
                    "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": ["sg-1"]}],
                    "DisableApiTermination": True,
                },
                launch_template="bbs",
                address=address,
            ),
        )
        for address in ("public", "private")
    ),
    (
        "run_instances",
        {
            **launch(),
            "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "7"},
            "InstanceMarketOptions": {
                "MarketType": "spot",
                "SpotOptions": {
                    "SpotInstanceType": "one-time",
                    "InstanceInterruptionBehavior": "terminate",
                    "MaxPrice": "0.0123",
                },
            },
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpEndpoint": "enabled",
                "HttpPutResponseHopLimit": 1,
                "InstanceMetadataTags": "enabled",
            },
            "BlockDeviceMappings": [
                {
                    "DeviceName": "/dev/sda1",
                    "Ebs": {"VolumeSize": 8, "VolumeType": "gp3", "Encrypted": True, "Iops": 3000},
                },
                {"DeviceName": "/dev/sdb", "NoDevice": ""},
            ],
            "Placement": {"AvailabilityZone": "eu-central-1a"},
            "DryRun": False,
        },
    ),
    ("start_instances", {"InstanceIds": ["i-1"]}),
    ("stop_instances", {"InstanceIds": ["i-1", "i-2"], "Force": True}),
    ("terminate_instances", {"InstanceIds": [f"i-{number}" for number in range(100)]}),
]
"""Each method, with every shape of parameters that there is."""

LOADER = create_loader()

LACKING = mock.patch.dict(sys.modules, {"service_identity": None})
"""Within, what TLS needs is not installed."""

EMPTY = b'<Answer xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"/>'


@cache
def description() -> service_model.Description:
    """One for all tests, as it takes a while."""
    with mock.patch.dict(os.environ, BARE):
        return service_model.describe(CONFIG, tuple(RATES))


def boto_client(config: EC2 = CONFIG, **options: Any) -> Any:
    """boto3's client. All have one loader, which keeps what it has read of the service."""
    own = Session()
    own.register_component("data_loader", LOADER)
    session = boto3.session.Session(*KEYS[:3], botocore_session=own)
    options.setdefault("config", Config(retries={"total_max_attempts": 1}))
    url = config.endpoint_url or None
    return session.client("ec2", region_name=config.region, endpoint_url=url, **options)


def action_of(name: str) -> str:
    """EC2's name of a method."""
    return "".join(word.capitalize() for word in name.split("_"))


def sent_by(client: Any, name: str, parameters: Mapping[str, Any]) -> Any:
    """What boto3 sends."""
    sent = []

    def before_send(request: Any, **_: object) -> AWSResponse:
        sent.append(request)
        raw: Any = mock.Mock(stream=lambda *_, **__: iter([EMPTY]))
        headers: Any = {}
        return AWSResponse(request.url, 200, headers, raw)

    client.meta.events.register_first("before-send.ec2", before_send, "catch")
    try:
        getattr(client, name)(**parameters)
    finally:
        client.meta.events.unregister("before-send.ec2", unique_id="catch")
    return sent[0]


def plain(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@cache
def images_alone() -> str:
    """A folder in which botocore finds a description of EC2 that has one action, and so is read in
    a hundredth of the time."""
    loader = create_loader()
    loader.file_loader = service_model.ServiceModelLoader(["DescribeImages"])
    version = loader.determine_latest_version("ec2", "service-2")
    folder = Path(mkdtemp(dir=os.curdir)).absolute()
    (folder / "ec2" / version).mkdir(parents=True)
    model = json.dumps(loader.load_data(f"ec2/{version}/service-2"))
    (folder / "ec2" / version / "service-2.json").write_text(model)
    return str(folder)


class Described(SynchronousTestCase):
    """Tests at a moment that is always the same, and with no settings of this machine's."""

    settings: Mapping[str, str] = BARE

    def setUp(self) -> None:
        self.patch(auth, "get_current_datetime", lambda: NOW)
        environ = {k: v for k, v in os.environ.items() if not re.match(r"AWS_|\w+_proxy$", k, re.I)}
        self.patch(os, "environ", {**environ, **self.settings})

    def url(self, config: EC2 = CONFIG, **environ: str) -> str:
        """Where an endpoint is, by the rules and settings; the same that boto3 asks at."""
        self.patch(os, "environ", os.environ | environ)
        ours = service_model.describe(config, ["DescribeImages"])
        theirs = sent_by(boto_client(config), "describe_images", {}).url
        self.assertEqual(ours.url, theirs)
        mine = ours.request("DescribeImages", {}, KEYS, NOW.timestamp())
        scope = f"/20261127/{config.region}/ec2/aws4_request"
        self.assertIn(scope, mine.headers["Authorization"])
        return ours.url


class Calls(Described):
    """Calls."""

    def test_as_boto3(self) -> None:
        """Body, address and signature of every call are those that boto3 sends."""
        client = boto_client()
        for name, parameters in CALLS:
            theirs = sent_by(client, name, parameters)
            ours = description().request(action_of(name), parameters, KEYS, NOW.timestamp())
            self.assertEqual(ours.body.decode(), plain(theirs.body), name)
            self.assertEqual(ours.url, theirs.url)
            headers = {key.lower(): plain(value) for key, value in theirs.headers.items()}
            mine = {key.lower(): value for key, value in ours.headers.items()}
            # The same signature: the same headers were signed, with the same values.
            for key in ("authorization", "content-type", "x-amz-date", "x-amz-security-token"):
                self.assertEqual(mine[key], headers[key], f"{name}: {key}")
            self.assertEqual(mine["host"], urlsplit(theirs.url).netloc)

    def test_without_a_token(self) -> None:
        """Credentials that are no session's."""
        keys = ReadOnlyCredentials("AKIDEXAMPLE", "secret-of-the-tests", None)
        ours = description().request("DescribeInstances", {}, keys, NOW.timestamp())
        client = boto3.session.Session(*keys[:2]).client("ec2", region_name=CONFIG.region)
        theirs = sent_by(client, "describe_instances", {})
        self.assertEqual(ours.headers["Authorization"], plain(theirs.headers["Authorization"]))
        self.assertNotIn("X-Amz-Security-Token", ours.headers)

    def test_every_method(self) -> None:
        """Each of the client's is compared here, and each has a rate."""
        own = {name for name in vars(EC2Client) if not name.startswith("_") and "_" in name}
        self.assertEqual({name for name, _ in CALLS}, own)
        self.assertEqual({action_of(name) for name in own}, set(RATES))

    def test_refused(self) -> None:
        """What the API does not take is refused, and nothing of the values is said."""
        for name, parameters, said in (
            ("TerminateInstances", {"InstanceIds": "hunter2"}, "Invalid type .* InstanceIds"),
            ("RunInstances", {"MinCount": 1}, "Missing required parameter .*MaxCount"),
            ("StartInstances", {"InstanceIds": [], "Odd": "hunter2"}, 'Unknown parameter .*"Odd"'),
        ):
            error = self.assertRaises(
                EC2Error, description().request, name, parameters, KEYS, NOW.timestamp()
            )
            self.assertIs(error.verdict, Verdict.REFUSED)
            self.assertRegex(str(error), f"^{name}: .*{said}")
            self.assertNotIn("hunter2", str(error))

    def test_agent(self) -> None:
        agent = (
            description().request("DescribeImages", {}, KEYS, NOW.timestamp()).headers["User-Agent"]
        )
        self.assertRegex(agent, r"^bbs/\S+ Botocore/\S+$")


class ByImages(Described):
    """Tests of what does not depend on the service's description."""

    def setUp(self) -> None:
        self.settings = {**BARE, "AWS_DATA_PATH": images_alone()}
        super().setUp()


class Endpoints(ByImages):
    """Where the API is asked."""

    def test_regions(self) -> None:
        for region, url in (
            ("us-east-1", "https://ec2.us-east-1.amazonaws.com/"),
            ("cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn/"),
            ("us-gov-west-1", "https://ec2.us-gov-west-1.amazonaws.com/"),
            ("xx-new-9", "https://ec2.xx-new-9.amazonaws.com/"),
        ):
            self.assertEqual(self.url(replace(CONFIG, region=region)), url)

    def test_configured(self) -> None:
        """The configuration first, then the environment, as botocore has it."""
        own = replace(CONFIG, endpoint_url="http://127.0.0.1:9")
        self.assertEqual(self.url(own, AWS_ENDPOINT_URL="http://h"), "http://127.0.0.1:9/")
        self.assertEqual(self.url(AWS_ENDPOINT_URL="http://h:8080"), "http://h:8080/")
        self.assertEqual(self.url(AWS_ENDPOINT_URL_EC2="http://ec2.h"), "http://ec2.h/")
        self.assertIn("amazonaws", self.url(AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true"))

    def test_variants(self) -> None:
        self.assertIn("ec2-fips.", self.url(AWS_USE_FIPS_ENDPOINT="true"))
        self.assertIn("api.aws", self.url(AWS_USE_DUALSTACK_ENDPOINT="true"))

    def test_profile(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("[default]\nendpoint_url = http://by-profile\n")
        self.assertEqual(self.url(AWS_CONFIG_FILE=path), "http://by-profile/")

    def refused(self, config: EC2 = CONFIG, **environ: str) -> str:
        self.patch(os, "environ", os.environ | environ)
        with self.assertRaises(Exception) as caught:
            service_model.describe(config, ["DescribeImages"])
        return str(caught.exception)

    def test_nonsense(self) -> None:
        for url in ("nonsense", "ftp://h", "https://"):
            self.assertIn("ndpoint", self.refused(replace(CONFIG, endpoint_url=url)))
        self.assertIn("region", self.refused(replace(CONFIG, region="no region")))

    def test_no_tls(self) -> None:
        """Without what TLS needs an https endpoint is refused, and http is not."""
        with LACKING:
            self.assertIn("pip install 'txbbs[tls] >= 0.4'", self.refused())
            service_model.describe(replace(CONFIG, endpoint_url="http://h"), ["DescribeImages"])


class AtStart(Described):
    """What is refused when a server starts, or its configuration is checked."""

    def check(self, config: EC2) -> None:
        toml = '[database]\nurl = "mysql://h/bbs"\n[broker]\nurl = ["stomp://h:61613"]\n'
        kit = LaunchKit(None, config, "", list, {}, lambda server_id: toml, print)
        assert instances.check
        instances.check(kit)

    def test_tls(self) -> None:
        self.check(CONFIG)
        with LACKING:
            with self.assertRaisesRegex(
                ConfigError, r"^ec2: TLS needs .*pip install 'txbbs\[tls\] >= 0\.4'$"
            ):
                self.check(CONFIG)
            self.check(replace(CONFIG, endpoint_url="http://127.0.0.1:9"))
            os.environ["AWS_ENDPOINT_URL_EC2"] = "http://127.0.0.1:9"
            self.check(CONFIG)


class Routes(ByImages):
    """How it is reached."""

    def route(self, url: str = "https://h", **environ: str) -> service_model.Route:
        self.patch(os, "environ", os.environ | environ)
        return service_model.describe(replace(CONFIG, endpoint_url=url), ["DescribeImages"]).route

    def test_proxy(self) -> None:
        self.assertIs(self.route().proxy, None)
        route = self.route(HTTPS_PROXY="http://who:hunter2@proxy:3128")
        self.assertEqual(urlsplit(route.proxy or "").port, 3128)
        self.assertIn("Basic", route.proxy_headers["Proxy-Authorization"])
        self.assertIs(self.route(HTTPS_PROXY="http://proxy:1", NO_PROXY="h").proxy, None)

    def test_proxies_refused(self) -> None:
        for url, environ in (
            ("http://h", {"HTTP_PROXY": "http://proxy:1"}),
            ("https://h", {"HTTPS_PROXY": "https://proxy:1"}),
        ):
            self.assertRaises(ValueError, self.route, url, **environ)

    def test_bundle(self) -> None:
        """AWS_CA_BUNDLE is honoured, and a bad one is said."""
        own = certificate(self.mktemp(), ["h"])
        self.assertFalse(self.is_trusted(own, self.route().trust))
        self.assertTrue(self.is_trusted(own, self.route(AWS_CA_BUNDLE=own.path).trust))
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("no certificate")
        for named, said in ((path, "no certificate in it"), ("/nowhere", "No such file")):
            with self.assertRaisesRegex(ValueError, f"AWS_CA_BUNDLE: {named}: {said}"):
                self.route(AWS_CA_BUNDLE=named)

    def is_trusted(self, signed: Signed, trust: Any) -> bool:
        """Whether a server with this certificate is spoken to."""
        heard: list[bytes] = []
        server, client, clock = Protocol(), Protocol(), MemoryReactorClock()
        hear: Any = heard.append
        server.dataReceived = hear  # type: ignore[method-assign]
        own = PrivateCertificate.loadPEM(Path(signed.path).read_bytes()).options()
        theirs = optionsForClientTLS("h", trustRoot=trust)
        ends = [
            TLSMemoryBIOFactory(options, is_client, _Once(each), clock=clock).buildProtocol(None)
            for options, is_client, each in ((own, False, server), (theirs, True, client))
        ]
        pump = connect(ends[0], makeFakeServer(ends[0]), ends[1], makeFakeClient(ends[1]))
        client.transport.write(b"x")  # type: ignore[union-attr]
        for _ in range(3):
            clock.advance(0)
            pump.flush()
        return heard == [b"x"]


class _Once(Factory):
    """Makes one protocol, which there is."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol


class Model(Described):
    """What is kept of the description of the service."""

    def test_parts(self) -> None:
        """They are the model's own, without words; what no action needs is not there."""
        loader = create_loader()
        whole = loader.load_service_model("ec2", "service-2")
        loader.file_loader = service_model.ServiceModelLoader(["RunInstances", "DescribeInstances"])
        loader = type(loader)(file_loader=loader.file_loader)
        kept = loader.load_service_model("ec2", "service-2")
        self.assertEqual(set(kept["operations"]), {"RunInstances", "DescribeInstances"})
        for name, shape in kept["shapes"].items():
            self.assertEqual(_silent(shape), _silent(whole["shapes"][name]), name)
            self.assertEqual(shape, _silent(shape))
        self.assertLess(len(kept["shapes"]), len(whole["shapes"]) / 5)

    def test_unknown_action(self) -> None:
        """A botocore that lacks an action is refused at once."""
        with self.assertRaises(OperationNotFoundError):
            service_model.describe(CONFIG, ["DescribeNothing"])


def _silent(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _silent(each)
            for key, each in value.items()
            if not (key == "documentation" and isinstance(each, str))
        }
    return [_silent(each) for each in value] if isinstance(value, list) else value
