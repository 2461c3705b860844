"""What calls of EC2's API cost, beside boto3 on threads.

    python -m lab.bench.calls [--calls N]

A server in a process of its own replays answers: of RunInstances, and of DescribeInstances with 50
and with 200 instances. Each way of asking is measured in a fresh process: the memory that the first
call adds; the processor's time of a call, of all threads; the longest turn of the reactor, by the
processor's time of its thread (`turn`), and how long the reactor was not heard at most, which
counts what other threads and other processes took (`unheard`); and how long after four calls that
hang are given up another one is answered.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from bbs.config import EC2
from bbs.scaling.ec2.launch_request import Basis, LaunchStrategy, run_instances
from lab.bench.ec2_rounds import IDENTITY, Asked, memory, one_instance, replay

PAGES = (50, 200)
HANGING = 4
FLEET_ID = "0" * 16
CONFIG = EC2(image_id="ami-1", instance_type=("t3.micro",), subnet_ids=("subnet-1",))
WAY = LaunchStrategy("t3.micro", "subnet-1")
RUN = run_instances(CONFIG, "0" * 32, WAY, "#!/bin/sh\n" * 300, Basis(), "1", FLEET_ID)

NATIVE, THREADED = "native", "boto3 on threads"

Ask = Callable[[str, Mapping[str, Any]], Deferred[Any]]


def page_of(size: int) -> Mapping[str, Any]:
    """What asks for a page of so many instances."""
    return {"Filters": [{"Name": "tag:bbs:fleet", "Values": [str(size)]}], "MaxResults": size}


class Turns:
    """The longest turn of the reactor, in seconds of its thread and by the clock."""

    def __init__(self, reactor: Any) -> None:
        self.turn = self.unheard = 0.0
        self._reactor = reactor

    def __enter__(self) -> Turns:
        self._last = time.thread_time(), time.perf_counter()
        self._next = self._reactor.callLater(0, self._tick)
        return self

    def _tick(self) -> None:
        now = time.thread_time(), time.perf_counter()
        self.turn = max(self.turn, now[0] - self._last[0])
        self.unheard = max(self.unheard, now[1] - self._last[1])
        self._last = now
        self._next = self._reactor.callLater(0, self._tick)

    def __exit__(self, *_: object) -> None:
        self._next.cancel()


def asking(reactor: Any, way: str, config: EC2) -> tuple[Any, Ask]:
    """A client, and how it is asked."""
    if way == THREADED:
        from lab.bench.threaded_client import ThreadedClient

        threaded = ThreadedClient(reactor, config)
        return threaded, threaded.call
    from bbs.scaling.ec2.client import Api, EC2Client
    from bbs.scaling.ec2.throttle import RATES

    # The server takes as many as come.
    rates = {action: rate._replace(size=100_000) for action, rate in RATES.items()}
    native = EC2Client(reactor, Api(reactor, config), rates=rates)
    return native, lambda name, parameters: getattr(native, name)(**parameters)


async def measure(reactor: Any, way: str, url: str, calls: int) -> dict[str, float]:
    """The figures of a way, in milliseconds and MiB."""
    client, ask = asking(reactor, way, EC2(endpoint_url=url))
    client.startService()
    taken: dict[str, float] = {}
    before, used = memory(), time.process_time()
    with Turns(reactor) as turns:
        await ask("run_instances", RUN)
    taken["first call: MiB"] = memory() - before
    taken["first call: CPU ms"] = (time.process_time() - used) * 1000
    taken["first call: turn ms"] = turns.turn * 1000
    for name, what, parameters, number in (
        ("RunInstances", "run_instances", RUN, calls),
        *((f"page of {size}", "describe_instances", page_of(size), calls // 10) for size in PAGES),
    ):
        used = time.process_time()
        for _ in range(number):
            await ask(what, parameters)
        taken[f"{name}: CPU ms"] = (time.process_time() - used) / number * 1000
        with Turns(reactor) as turns:
            for _ in range(10):
                await ask(what, parameters)
        taken[f"{name}: turn ms"] = turns.turn * 1000
        taken[f"{name}: unheard ms"] = turns.unheard * 1000
    hanging = [ask("stop_instances", {"InstanceIds": ["i-hang"]}) for _ in range(HANGING)]
    # Until each of them is at the server.
    await task.deferLater(reactor, 0.5)
    began = time.perf_counter()
    for call in hanging:
        call.addErrback(lambda _: None)
        call.cancel()
    await ask("run_instances", RUN)
    taken[f"another after {HANGING} hung: ms"] = (time.perf_counter() - began) * 1000
    await client.stopService()
    return taken


def run(way: str, url: str, calls: int, tell: Callable[[dict[str, float]], None]) -> None:
    """Measure a way, in this process."""

    async def main(reactor: Any) -> None:
        tell(await measure(reactor, way, url, calls))

    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))


def serve(instance: str, tell: Callable[[int], None]) -> None:
    """Replay answers."""
    xmlns = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
    pages = {
        size: f"<DescribeInstancesResponse {xmlns}><reservationSet>"
        f"{''.join(instance.format(number, FLEET_ID) for number in range(size))}"
        "</reservationSet></DescribeInstancesResponse>"
        for size in PAGES
    }
    launched = instance.format(1, FLEET_ID).strip().removeprefix("<item>").removesuffix("</item>")
    launched = f"<RunInstancesResponse {xmlns}>{launched}</RunInstancesResponse>"

    def answer(asked: Asked) -> str:
        action = asked["Action"][0]
        if action == "StopInstances":
            time.sleep(60)  # A server that hangs; nothing waits for it.
        if action == "DescribeInstances":
            return pages[int(asked["Filter.1.Value.1"][0])]
        return launched

    replay(answer, tell)


def main(argv: list[str]) -> None:
    """Print the figures of both ways, and their ratio."""
    parser = argparse.ArgumentParser(description="what calls of EC2's API cost")
    parser.add_argument("--calls", type=int, default=200, help="calls of RunInstances (200)")
    calls = parser.parse_args(argv).calls
    os.environ.update(IDENTITY)
    context = get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    with context.Pool(1) as helper:
        instance = helper.apply(one_instance)
    server = context.Process(target=serve, args=(instance, tell.send), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{told.recv()}"
    taken: dict[str, dict[str, float]] = {}
    for way in (THREADED, NATIVE):
        process = context.Process(target=run, args=(way, url, calls, tell.send))
        process.start()
        taken[way] = told.recv()
        process.join()
    print(f"{'':<28} {THREADED:>17} {NATIVE:>9} {'ratio':>7}")
    for name, before in taken[THREADED].items():
        now = taken[NATIVE][name]
        print(f"{name:<28} {before:>17.2f} {now:>9.2f} {now / before if before else 0:>7.2f}")
    server.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
