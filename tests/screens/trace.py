"""A picture of one trace: `python -m tests.screens.trace`, where `tests/services/start` has started
MariaDB and ActiveMQ.

Somebody logs in for whom there is no app server. The login server launches one on the cloud of
`tests/cloud`, whose instances take a second to boot and then are processes of this machine. The
trace goes to `docs/screens` as a picture and as text. It ends with 1 where there is a hole of more
than 50 ms in it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from lab.bench.launch_share import configuration, granted, reached, reactor
from lab.bench.processes import TWISTD, Failed, environment, own_database, process
from tests.cloud import Cloud
from tests.core.tracing.spans import Collector, Recorded, as_text, below, holes, tree
from tests.integration.service import BIN
from tests.integration.test_tracing import CONTAINERS
from tests.services import needed
from tests.services.servers import free_port, write_private

SCREENS = Path("docs/screens")
BOOT = 1.0
PATIENCE = 60.0

HOLE = 0.05
"""Seconds in which nothing need be known of a trace, on a quiet machine."""

WIDTH, LEFT, ROW, TOP = 960, 300, 20, 60
"""Pixels: of the picture, before the times, of a line, and above the first one."""

COLORS = {"bbs-client": "#6a7f95", "bbs-login": "#2f6fb5", "bbs-app": "#2e8b57"}


async def recorded(folder: Path, script: str) -> list[Recorded]:
    """The trace of a login that waits for an instance."""
    collector = Collector()
    collector.start()
    cloud = Cloud(boot_seconds=BOOT)
    await cloud.start()
    try:
        with own_database(needed("BBS_TEST_MYSQL_URL")) as database:
            port = free_port()
            text = configuration(cloud, port, database)
            told = '[tracing]\nendpoint = ""\n'
            assert told in text
            text = text.replace(told, told.replace('""', f'"{collector.endpoint}"'))
            write_private(folder / "bbs.toml", text)
            command = [*TWISTD, "--nodaemon", "--pidfile=", "bbs-login"]
            command += [f"--config={folder}/bbs.toml", f"--data={folder}"]
            environ = environment(**cloud.environ)
            with process(command, folder / "login.log", environ, cwd=folder):
                login = await reached("127.0.0.1", port)
                await granted(login, "register", "ann", "ann")
                login.close()
                (folder / "script").write_text(script)
                await talk(folder, port, collector)
                await deferLater(reactor, 2.0)  # The last batch is a second behind.
        (root,) = collector.named("ask login")
        return collector.trace_of(root)
    finally:
        await cloud.stop()
        await collector.stop()


async def talk(folder: Path, port: int, collector: Collector) -> None:
    """A client says what stands in a file."""
    shell = f"exec {BIN}/bbs client 127.0.0.1 {port} <{folder}/script"
    environ = environment(
        BBS_TRACING_ENDPOINT=collector.endpoint, XDG_STATE_HOME=str(folder / "state")
    )
    out, errors, code = await getProcessOutputAndValue("/bin/sh", ["-c", shell], env=environ)
    if code:
        raise Failed(f"the client: {out.decode()}{errors.decode()}")


def picture(spans: Sequence[Recorded]) -> str:
    """A waterfall: a line for each span, in the order of the tree."""
    rows = tree(spans)
    whole = max(row.at + row.took for row in rows)
    height = TOP + ROW * len(rows) + 12
    scale = (WIDTH - LEFT - 70) / whole
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        "<title>A login that waits for an instance, as one trace</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (service, color) in enumerate(COLORS.items()):
        x = 12 + 120 * number
        parts.append(f'<rect x="{x}" y="10" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 18}" y="20" fill="#222222">{service}</text>')
    step = next(each for each in (100, 200, 500, 1000, 2000, 5000) if whole / each <= 12)
    for at in range(0, int(whole) + 1, step):
        there = LEFT + at * scale
        parts.append(
            f'<path d="M{there:.1f} {TOP - 8}V{height - 8}" stroke="#dddddd" fill="none"/>'
            f'<text x="{there:.1f}" y="{TOP - 12}" fill="#666666"'
            f' text-anchor="middle">{at} ms</text>'
        )
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        begin, width = LEFT + row.at * scale, max(1.5, row.took * scale)
        color = COLORS[row.span.service]
        took = f"{row.took:.0f}" if row.took >= 10 else f"{row.took:.1f}"
        parts.append(
            f'<text x="{12 + 12 * row.depth}" y="{y + 14}" fill="#222222">'
            f"{escape(row.span.name)}</text>"
            f'<rect x="{begin:.1f}" y="{y + 4}" width="{width:.1f}" height="12" rx="2"'
            f' fill="{color}"/>'
            f'<text x="{begin + width + 5:.1f}" y="{y + 14}" fill="#666666">{took}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


async def main() -> None:
    """Write both."""
    with tempfile.TemporaryDirectory(prefix="bbs-trace-") as folder:
        spans = await recorded(Path(folder), "login ann ann\nexit\n")
    (root,) = (each for each in spans if not each.parent)
    parts = [each for each in below(root, spans) if each.name not in CONTAINERS]
    longest = max(end - begin for begin, end in holes(root, parts))
    text = f"{as_text(spans)}\n\nlongest hole: {longest * 1000:.1f} ms\n"
    (SCREENS / "trace.txt").write_text(text)
    (SCREENS / "trace.svg").write_text(picture(spans))
    print(text)
    if longest > HOLE:
        raise Failed(f"a hole of {longest * 1000:.0f} ms")


def said(failure: Failure) -> None:
    """End with 1, and why."""
    failure.printTraceback(sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    if "BBS_TEST_MYSQL_URL" not in os.environ:
        sys.exit("no MariaDB and ActiveMQ: run tests/services/start, and read .services/env")
    # What the cloud says of calls that are cut off at the end.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    react(lambda _: Deferred.fromCoroutine(main()).addErrback(said))
