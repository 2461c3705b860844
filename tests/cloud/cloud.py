"""The cloud as a whole: moto, the machines, and the proxy in front."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from tests.cloud.agent import Agent
from tests.cloud.answers import Answer
from tests.cloud.credentials import Keys, document
from tests.cloud.ec2 import EC2, Sight
from tests.cloud.faults import BOOT, CAPACITY, METADATA, Chances, Fault, Faults
from tests.cloud.launches import Launches
from tests.cloud.machines import Machine
from tests.cloud.metadata import CONTAINER, Metadata
from tests.cloud.moto import OPERATOR, Moto
from tests.cloud.proxy import Call, Held, Proxy, refused
from tests.standins.ec2 import APIError
from tests.standins.instances import INTERRUPTED

REGION = "us-east-1"

LOGIN_SERVER = "LOGINSERVER"
"""The access key of the login servers, and of whoever else uses `Cloud.environ`."""

APP_SERVER = "APPSERVER"
"""The access key of the instances."""

USER_DATA = Path(__file__).absolute().parent / "user_data.sh.template"

NETWORKS = range(50, 250)
"""The clouds on a machine have 127.50.0.0/16, 127.51.0.0/16 and so on."""

_LOCK_PORT = 22223
"""Bound, for UDP, which nobody else uses, at the last address of its network by each cloud."""

_log = Logger()


def _same_code() -> dict[str, str]:
    """What has the instances' Python import what this one does."""
    return {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def older_user_data() -> str:
    """What instances boot with, for one launch at a time, as versions before 0.4.0 take it too."""
    return USER_DATA.read_text("utf-8").replace("'${batch}'", "''")


class Cloud:
    """An EC2 whose instances are processes of this machine.

    :param boot_seconds: how long an instance is pending before its user data runs.
    :param start_seconds: how long one is pending that was stopped; None for as long.
    :param faults: what goes wrong; `cloud.faults` may be replaced at any time.
    :param seed: of the chances that `faults` speak of.
    :param folder: for the instances' folders; a temporary one, removed at the end, when None.
    :param environ: further variables for the instances.
    :param grace: seconds between SIGTERM and SIGKILL for an instance that is terminated or stopped.
    """

    def __init__(
        self,
        boot_seconds: float = 3.0,
        faults: Faults | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        reactor: Any = None,
        start_seconds: float | None = None,
        grace: float = 5.0,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self.faults = faults or Faults()
        self.image_id = ""
        self.subnet_ids: list[str] = []
        self.security_group_id = ""
        self.network = ""
        self.endpoint_url = ""
        self.clock_offset = 0.0
        """Seconds by which the cloud's clock is before this machine's."""
        self._reactor = reactor
        self._temporary = folder is None
        self._folder = Path(folder or tempfile.mkdtemp(prefix="bbs-cloud-")).absolute()
        self._chances = Chances(seed)
        self._given_environ = dict(environ or {})
        self._secret = secrets.token_hex(20)
        self._keys = Keys(self.now)
        self._login_metadata = ""
        self._instance_environ: dict[str, str] = {}
        self._moto = Moto(reactor, REGION)
        self._metadata = Metadata(
            reactor, REGION, self._asked_for_metadata, self._temporary_credentials
        )
        self._agent = Agent(
            reactor,
            self._folder,
            self._instance_environ,
            boot_seconds,
            boot_seconds if start_seconds is None else start_seconds,
            grace,
            self._boot_fault,
            self._metadata,
            self._terminated,
        )
        self.launches = Launches(reactor, self._moto, self._agent.boot, self._lacking)
        self._ec2 = EC2(reactor, self._moto, self._agent, self.launches)
        self._proxy = Proxy(reactor, self._choose, self._carry_out, self.now)
        self._ports: list[Any] = []
        self._told: set[Deferred[Any]] = set()
        self._interruptions: list[Any] = []

    # From start to stop

    def start(self) -> Deferred[None]:
        """Fires when calls are answered, and there is an image and a network."""
        return Deferred.fromCoroutine(self._start())

    def stop(self) -> Deferred[None]:
        """Fires when all instances have ended. The moto server ends with this process."""
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._take_network()
        try:
            self._moto.start()
            await self._furnish()
        except BaseException:
            await self._stop()
            raise
        port = self._proxy.listen()
        self._ports.append(port)
        self.endpoint_url = f"http://127.0.0.1:{port.getHost().port}"
        self._instance_environ.update(
            self._identity(APP_SERVER), **_same_code(), **self._given_environ
        )
        for identity in (LOGIN_SERVER, APP_SERVER):
            self._keys.add(identity, self._secret)
        self._login_metadata = self._metadata.open(self._login_machine())
        # Each has a metadata service of its own.
        del self._instance_environ["AWS_EC2_METADATA_DISABLED"]

    async def _stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        await self._proxy.stop()
        for interruption in self._interruptions:
            if interruption.active():
                interruption.cancel()
        await self._agent.close(list(self._ec2.machines.values()))
        await self._metadata.stop()
        await DeferredList(list(self._told))
        await self._moto.stop()
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _take_network(self) -> None:
        for number in NETWORKS:
            try:
                lock = self._reactor.listenUDP(
                    _LOCK_PORT, DatagramProtocol(), interface=f"127.{number}.255.254"
                )
            except CannotListenError:
                continue
            self._ports.append(lock)
            self.network = f"127.{number}"
            return
        raise RuntimeError("too many clouds run on this machine")

    async def _furnish(self) -> None:
        """What an account has before anybody launches anything."""
        query = self._moto.query
        vpc = (await query("CreateVpc", CidrBlock=f"{self.network}.0.0/16")).findtext(
            ".//{*}vpcId", ""
        )
        for block, zone in (("0.0/17", "a"), ("128.0/17", "b")):
            subnet = await query(
                "CreateSubnet",
                VpcId=vpc,
                CidrBlock=f"{self.network}.{block}",
                AvailabilityZone=REGION + zone,
            )
            self.subnet_ids.append(subnet.findtext(".//{*}subnetId", ""))
            self.launches.zones[self.subnet_ids[-1]] = REGION + zone
        group = await query(
            "CreateSecurityGroup", GroupName="bbs-app", GroupDescription="bbs-app", VpcId=vpc
        )
        self.security_group_id = group.findtext(".//{*}groupId", "")
        image = await query(
            "RegisterImage", Name="bbs", Architecture="x86_64", RootDeviceName="/dev/xvda"
        )
        self.image_id = image.findtext(".//{*}imageId", "")

    # For the clients

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which a login server, or boto3 in a test, gets at the cloud."""
        return self._identity(LOGIN_SERVER)

    @property
    def role_environ(self) -> dict[str, str]:
        """The same for a login server with a role, as on an instance: its credentials are those of
        the metadata service, for which AWS_EC2_METADATA_SERVICE_ENDPOINT stands. They expire."""
        environ = self._without_key()
        del environ["AWS_EC2_METADATA_DISABLED"]
        return {**environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._login_metadata}

    @property
    def container_environ(self) -> dict[str, str]:
        """The same for one in a container: its credentials, which expire, are at a URL."""
        at = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self._login_metadata + CONTAINER}
        return {**self._without_key(), **at}

    @property
    def instance_environ(self) -> dict[str, str]:
        """The variables that every instance has: an identity of its own among them."""
        return dict(self._instance_environ)

    def ec2_config(self) -> dict[str, object]:
        """The section `[ec2]` for a service on this cloud."""
        return {
            "region": REGION,
            "endpoint_url": self.endpoint_url,
            "image_id": self.image_id,
            "instance_type": ["t3.micro"],
            "subnet_ids": list(self.subnet_ids),
            "security_group_ids": [self.security_group_id],
            "address": "private",
            "user_data": str(USER_DATA),
        }

    def now(self) -> float:
        """The cloud's time, in seconds since the epoch."""
        return float(self._reactor.seconds()) + self.clock_offset

    def expire_credentials(self) -> None:
        """All temporary credentials that were given out are refused from now on; new ones are
        there to be fetched."""
        self._keys.expire()

    def _login_machine(self) -> Machine:
        """The machine of a login server, for its metadata."""
        return Machine(
            instance_id="i-0000000000000001",
            address=f"{self.network}.255.253",
            kind="t3.small",
            image_id=self.image_id,
            subnet_id=self.subnet_ids[0],
            token="",
            tags={},
            stops_as="stopped",
            profile="bbs-login",
            zone=REGION + "a",
        )

    def _temporary_credentials(self, machine: Machine) -> Mapping[str, str]:
        launched = machine.instance_id in self._ec2.machines
        key = self._keys.current(APP_SERVER if launched else LOGIN_SERVER)
        return document(key, self.now())

    def _without_key(self) -> dict[str, str]:
        environ = self._identity(LOGIN_SERVER)
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        return environ

    def _identity(self, key: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Nobody's own account is meant.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    # For the tests

    @property
    def calls(self) -> list[Call]:
        """Every call so far."""
        return self._proxy.calls

    @property
    def holding(self) -> list[Held]:
        """The calls that a rule holds, before they are carried out or before they are answered."""
        return self._proxy.holding

    def instances(self, alive: bool | None = None) -> list[Machine]:
        """All instances that ever were, as they truly are; those `alive`, or those not."""
        return [
            machine
            for machine in self._ec2.machines.values()
            if alive is None or machine.alive == alive
        ]

    def kill(self, instance_id: str) -> None:
        """An instance loses its power: its process is ended at once."""
        self._agent.kill(self._ec2.machines[instance_id])

    def terminate(self, instance_id: str) -> Deferred[Answer]:
        """Somebody else ends an instance."""
        return self._by_hand("TerminateInstances", instance_id)

    def stop_instance(self, instance_id: str) -> Deferred[Answer]:
        """Somebody stops an instance by hand."""
        return self._by_hand("StopInstances", instance_id)

    def start_instance(self, instance_id: str) -> Deferred[Answer]:
        """Somebody starts one that is stopped."""
        return self._by_hand("StartInstances", instance_id)

    def interrupt(self, instance_id: str, seconds: float = 120.0) -> None:
        """The capacity of an instance is wanted elsewhere: it is told in its metadata, and is
        taken away so many seconds later."""
        machine = self._ec2.machines[instance_id]
        machine.interrupted = self._reactor.seconds() + seconds
        self._interruptions.append(
            self._reactor.callLater(seconds, self._agent.end, machine, INTERRUPTED)
        )

    def recommend_rebalance(self, instance_id: str) -> None:
        """An instance is told in its metadata that its capacity may be wanted elsewhere soon."""
        self._ec2.machines[instance_id].rebalance = self._reactor.seconds()

    def console(self, instance_id: str) -> str:
        """What an instance has printed."""
        path = self._folder / instance_id / "console.log"
        return path.read_text() if path.exists() else ""

    # The parts

    def _choose(self, call: Call) -> Fault | None:
        call.identity = self._keys.owner(call.identity)
        parameters = {name: str(value) for name, value in call.parameters.items()}
        return self.faults.take(call.action, parameters, self._chances.next(call.action))

    async def _carry_out(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            self._keys.check(call.service, headers, body)
        except APIError as error:
            return refused(call, error.code, error.message)
        if call.service != "ec2":
            return await self._moto.forward(body, headers)
        fault = call.fault or Fault("")
        if fault.kind == "forget":
            self.launches.tokens.forget(call.parameters.get("ClientToken", ""))
        lag = max(self.faults.lag, fault.seconds if fault.kind == "stale" else 0.0)
        sight = Sight(lag, fault.share, self._chances.next(f"share of {call.action}"))
        return await self._ec2.carry_out(call.parameters, call.identity, sight)

    def _by_hand(self, action: str, instance_id: str) -> Deferred[Answer]:
        asked = {"Action": action, "InstanceId.1": instance_id}
        return Deferred.fromCoroutine(self._ec2.carry_out(asked, OPERATOR))

    def _lacking(self, where: Mapping[str, str]) -> Fault | None:
        return self.faults.take(CAPACITY, where, self._chances.next(CAPACITY))

    def _boot_fault(self, machine: Machine) -> Fault | None:
        where = {"InstanceType": machine.kind, "SubnetId": machine.subnet_id}
        return self.faults.take(BOOT, where, self._chances.next(BOOT))

    def _asked_for_metadata(self, machine: Machine, path: str) -> Fault | None:
        where = {"InstanceId": machine.instance_id, "Path": path}
        return self.faults.take(METADATA, where, self._chances.next(METADATA))

    def _terminated(self, machine: Machine) -> None:
        """An instance has ended: moto may give its address to another from now on."""
        _log.info("{instance} has ended", instance=machine.instance_id)
        told = Deferred.fromCoroutine(
            self._moto.query("TerminateInstances", InstanceId_1=machine.instance_id)
        )
        self._told.add(told)
        told.addErrback(lambda failure: _log.failure("an end was not told", failure=failure))
        told.addCallback(lambda _: self._told.discard(told))
