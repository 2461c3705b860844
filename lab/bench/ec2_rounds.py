"""What asking EC2 costs the process that keeps a fleet.

    python -m lab.bench.ec2_rounds [SERVERS ...]

First, how long the first call takes with what it loads, and the memory. Then one list of a fleet
of each size: the calls, the time until it is there, the processor's time in this process, and for
how long at most the reactor was not heard meanwhile. The answers are moto's for one instance, as
often as there are servers, from a process that has nothing else to do than to send them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from statistics import median
from subprocess import PIPE
from typing import Any
from urllib.parse import parse_qs

from twisted.internet import task
from twisted.internet.defer import Deferred

from bbs.config import EC2
from bbs.scaling.ec2.client import client_for
from bbs.scaling.ec2.provider import PAGE, EC2Provider
from tests.paths import CHECKOUT

ROUNDS = 5
TICK = 0.001

IDENTITY = {"AWS_ACCESS_KEY_ID": "BENCH", "AWS_SECRET_ACCESS_KEY": "bench"}


def memory() -> float:
    """What this process has of the machine's memory now, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Ticks:
    """How long the reactor is not heard, at most."""

    def __init__(self, reactor: Any) -> None:
        self.longest = 0.0
        self._last = time.perf_counter()
        self._loop = task.LoopingCall(self._tick)
        self._loop.clock = reactor

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last - TICK), now

    def __enter__(self) -> Ticks:
        self._loop.start(TICK)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.stop()


async def measure(reactor: Any, endpoint_url: str, sizes: list[int]) -> None:
    """Print the figures."""
    config = EC2(region="us-east-1", endpoint_url=endpoint_url)
    client = client_for(reactor, config)
    client.startService()
    # Its thread would outlive a failure.
    reactor.addSystemEventTrigger("before", "shutdown", client.stopService)
    before, began = memory(), time.perf_counter()
    with Ticks(reactor) as ticks:
        await EC2Provider(reactor, client, config, str, "0", fleet_id="0").list()
        seconds = time.perf_counter() - began
    print(
        f"the first call, and what it loads in a thread: {seconds:.2f} s, "
        f"{memory() - before:.0f} MiB on {before:.0f} MiB, "
        f"reactor unheard for {ticks.longest * 1000:.0f} ms at most"
    )
    print(f"{'servers':>8} {'calls':>6} {'ms':>8} {'own CPU ms':>11} {'unheard ms':>11}")
    for size in sizes:
        provider = EC2Provider(reactor, client, config, str, "0", fleet_id=str(size))
        taken = [await one_round(reactor, provider) for _ in range(ROUNDS)]
        assert len(await provider.list()) == size
        elapsed, own, unheard = (median(column) * 1000 for column in zip(*taken, strict=True))
        calls = max(1, -(-size // PAGE))
        print(f"{size:>8} {calls:>6} {elapsed:>8.0f} {own:>11.1f} {unheard:>11.1f}")


async def one_round(reactor: Any, provider: EC2Provider) -> tuple[float, float, float]:
    """Seconds until the list was there, of this process, and of which the reactor was not heard."""
    began, used = time.perf_counter(), time.process_time()
    with Ticks(reactor) as ticks:
        await provider.list()
        elapsed = time.perf_counter() - began
    return elapsed, time.process_time() - used, ticks.longest


def one_instance() -> str:
    """The XML in which moto describes an instance, for `str.format` with a number and a fleet's
    id."""
    command = [sys.executable, "-m", "tests.cloud.moto_child"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=PIPE, stdout=PIPE) as moto:
        assert moto.stdin and moto.stdout
        port = int(moto.stdout.readline())
        import boto3

        client: Any = boto3.session.Session().client(
            "ec2", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}"
        )
        image = client.register_image(Name="bbs", RootDeviceName="/dev/xvda")["ImageId"]
        tags = [
            {"Key": key, "Value": "0123456789abcdef0123456789abcdef"}
            for key in ("Name", "bbs:fleet", "bbs:fleet-id", "bbs:launch", "bbs:version")
        ]
        client.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        bodies: list[str] = []
        client.meta.events.register(
            "before-parse.ec2.DescribeInstances",
            lambda response_dict, **_: bodies.append(response_dict["body"].decode()),
        )
        client.describe_instances()
        moto.stdin.close()
    body = bodies[0].replace("{", "{{").replace("}", "}}")
    item = re.search(r"<reservationSet>(.*)</reservationSet>", body, re.DOTALL)
    assert item
    numbered = re.sub(r"<instanceId>[^<]*", "<instanceId>i-{0}", item[1])
    for tag, value in (("launch", "l-{0}"), ("fleet-id", "{1}")):
        numbered = re.sub(rf"(bbs:{tag}</key>\s*<value>)[^<]*", rf"\g<1>{value}", numbered)
    return numbered


Asked = Mapping[str, Sequence[str]]


def serve(instance: str, tell: Callable[[int], None]) -> None:
    """Answer DescribeInstances with as many instances as the fleet is called."""

    def answer(asked: Asked) -> str:
        size = int(asked["Filter.1.Value.1"][0])
        start = int(asked.get("NextToken", ["0"])[0])
        end = min(size, start + int(asked["MaxResults"][0]))
        items = "".join(instance.format(number, size) for number in range(start, end))
        more = f"<nextToken>{end}</nextToken>" if end < size else ""
        return (
            '<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<reservationSet>{items}</reservationSet>{more}</DescribeInstancesResponse>"
        )

    replay(answer, tell)


def replay(answer: Callable[[Asked], str], tell: Callable[[int], None]) -> None:
    """Serve, at a port that is told, the `answer` to the parameters of each request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = answer(parse_qs(self.rfile.read(length).decode())).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tell(server.server_port)
    server.serve_forever()


def main(argv: list[str]) -> None:
    """Measure, beside a process that answers."""
    os.environ.update(IDENTITY)
    context = get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    # In a process of its own, so that this one knows nothing of boto3 yet.
    with context.Pool(1) as helper:
        instance = helper.apply(one_instance)
    server = context.Process(target=serve, args=(instance, tell.send), daemon=True)
    server.start()
    endpoint_url = f"http://127.0.0.1:{told.recv()}"
    sizes = [int(size) for size in argv] or [10, 100, 1000]
    task.react(lambda reactor: Deferred.fromCoroutine(measure(reactor, endpoint_url, sizes)))


if __name__ == "__main__":
    main(sys.argv[1:])
