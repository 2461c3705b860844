"""Pictures of the operators' page: `python -m tests.screens.web`, from the project's folder.

A real login server serves the page, on a database in which the rows of twelve app servers, in every
state, are made up and kept moving; a keeper of the fleet that is somewhere else leaves them to it.
The hour before is made up too. They go to `docs/screens`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Page, expect

from bbs import migrations
from bbs.models import Action, Lease, LoginServer, Place, Server, User, Waiter
from bbs.offline import connected
from bbs.rules.fleet import KEEPER
from tests.browser import NARROW, WIDE, Chromium
from tests.page_server import TOPS
from tests.screens.png import small
from tests.services.servers import free_port

SCREENS = Path("docs/screens")
PASSWORD = "correct horse"
CONFIG = """
[database]
url = "sqlite:///{folder}/bbs.sqlite3"
[fleet]
provider = "none"
maximum = 16
lost_after = 86400.0
[web]
listen = "tcp:{port}:interface=127.0.0.1"
password_file = "{folder}/passwords"
"""

# The login server's own last hour begins with it: this one's began an hour before.
AN_HOUR_BEFORE = """
import sys
if "bbs-login" in sys.orig_argv:
    import math, time
    from bbs.web.history import POINTS, STEP, History
    def begin(self, begin=History.__init__):
        begin(self)
        for back in range(POINTS, 0, -1):
            self.add(time.time() - back * STEP, point(POINTS - back))
    History.__init__ = begin
    TOPS = {tops}
    def point(at):
        values = {{}}
        for number, (name, top) in enumerate(TOPS.items()):
            noise = math.sin(at * 12.9898 + number) * 43758.5453 % 1
            wave = 0.5 + 0.35 * math.sin(at / (25 + 6 * number) + number) + 0.15 * noise
            values[name] = round(top * wave) if name in WHOLE else top * wave
        waits = 225 < at < 245
        values["waiting"] = at % 4 + 1 if waits else 0
        values["longest_wait"] = (at - 225) * 0.6 if waits else None
        if at % 23:
            values["launch_seconds"] = None
        return values
    WHOLE = ("free_places", "servers")
"""

# State, people, reason, provider, type: the eldest first.
FLEET = (
    ("ready", 10, "", "ec2:bbs", "t3.micro"),
    ("ready", 9, "", "ec2:bbs", "t3.micro"),
    ("ready", 7, "", "ec2:bbs", "t3.micro"),
    ("ready", 10, "", "ec2:bbs", "t3.micro"),
    ("draining", 3, "an operator asked for it", "ec2:bbs", "t3.micro"),
    ("ready", 4, "", "operator", None),
    ("lost", 0, "no heartbeat for 10 s", "ec2:bbs", "t3.small"),
    ("ready", 2, "", "ec2:bbs", "t3.micro"),
    ("gone", 0, "empty, and not needed", "ec2:bbs", "t3.micro"),
    ("ready", 0, "", "ec2:bbs", "t3.micro"),
    ("launching", 0, "", "ec2:bbs", "t3.micro"),
    ("launching", 0, "", "ec2:bbs", "t3.micro"),
)
NAMES = ("ann", "bob", "chess-fan", "dora", "emil", "林小明", "Ørjan", "grace", "山田太郎", "zoë")


def an_id(number: int) -> str:
    """The id of a server, the same each time that the pictures are made."""
    return f"{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"


def fill(now: float) -> None:
    """The fleet as it begins: everything launches, for a keeper that is elsewhere."""
    LoginServer.insert(id="elsewhere", identity="", logins=0).execute()
    Lease.insert(name=KEEPER, holder="elsewhere", identity="").execute()
    for number, (_, people, _, scope, kind) in enumerate(FLEET):
        age = 5400.0 / (number + 1) ** 1.2 - 230 if number < 10 else 2.0
        values = {"id": an_id(number), "scope": scope, "capacity": 10, "taken": people}
        by_hand = kind is None
        Server.insert(
            **values,
            created=now - max(age, 1.4),
            host=None if number >= 10 else f"203.0.113.{number + 11}",
            port=None if number >= 10 else 22223,
            instance_id=None if by_hand else f"i-0{an_id(number)[8:16]}",
            kind=kind,
            messages=0,
        ).execute()
        for place in range(people):
            name = f"{NAMES[(number + place) % len(NAMES)]}{number or ''}"
            user = User.insert(name=name, password_hash="", channel="", created=now).execute()
            Place.insert(user=user, server=an_id(number)).execute()


def become(number: int, now: float) -> None:
    """The next server comes to its state."""
    state, _, reason, _, _ = FLEET[number]
    change: dict[str, object] = {"state": state, "reason": reason}
    if state == "launching":
        return
    if state != "lost":
        change["ready"] = Server.get_by_id(an_id(number)).created + 1.9 + number / 10
    if state == "gone":
        change["ended"] = now
    if state == "draining":
        change["drain_asked"] = True
        Action.insert(
            at=now, operator="ops", address="192.0.2.7", action="drain", target=an_id(number)
        ).execute()
    Server.update(change).where(Server.id == an_id(number)).execute()


def move_on(step: int) -> None:
    """What happens in a second: heartbeats, messages, a login."""
    busy = Server.state.in_(["ready", "draining"])
    Server.update(beats=Server.beats + 1, messages=Server.messages + Server.taken * 2).where(
        busy
    ).execute()
    LoginServer.update(logins=LoginServer.logins + step % 2).where(
        LoginServer.id == "elsewhere"
    ).execute()
    Lease.update(beats=Lease.beats + 1).execute()


@contextmanager
def login_server(folder: Path, port: int) -> Iterator[None]:
    """A login server whose page is at `port`."""
    passwords = folder / "passwords"
    passwords.write_text(f"ops:{PASSWORD}\n")
    passwords.chmod(0o600)
    (folder / "bbs.toml").write_text(CONFIG.format(folder=folder, port=port))
    (folder / "sitecustomize.py").write_text(AN_HOUR_BEFORE.format(tops=TOPS))
    twistd = Path(sys.executable).with_name("twistd")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(twistd, "--nodaemon", "--pidfile=", "bbs-login", "--config", "bbs.toml"),
                *("--data", "data", "--listen", f"tcp:{free_port()}:interface=127.0.0.1"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{folder}:{Path.cwd()}"},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def log_in(page: Page) -> None:
    """Log in as an operator."""
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Name").fill("ops")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def keep(page: Page, name: str) -> None:
    """Make a picture of a page."""
    path = SCREENS / f"web-{name}.png"
    path.write_bytes(small(page.screenshot(full_page=True)))
    print(f"{path}: {path.stat().st_size} bytes")


def take(chromium: Chromium, url: str) -> Page:
    """The pictures, while the fleet comes to its states; returns a page that is left open."""
    pages = {
        f"{width}-{'dark' if dark else 'light'}": chromium.open(url, width, dark)
        for width in (WIDE, NARROW)
        for dark in (False, True)
    }
    for page in pages.values():
        log_in(page)
    for step in range(len(FLEET)):
        become(step, time.time())
        move_on(step)
        page.wait_for_timeout(1000)
    for name in ("hugo", "小芳", "ivy"):
        Waiter.insert(
            id=name, login_server="elsewhere", name=name, since=time.time() - 4.2
        ).execute()
    for step in range(4):
        move_on(step)
        page.wait_for_timeout(1000)
    for name, page in pages.items():
        keep(page, name)
    page = pages[f"{WIDE}-light"]
    page.get_by_role("button", name="Drain").first.click()
    keep(page, "drain")
    page.keyboard.press("Escape")
    return page


def wait_for(url: str) -> None:
    """Wait until the login server answers."""
    for _ in range(200):
        with suppress(OSError), urlopen(url):
            return
        time.sleep(0.1)
    raise SystemExit(f"nobody answers at {url}")


def main() -> None:
    """Make all pictures."""
    SCREENS.mkdir(exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as name, Chromium() as chromium:
        folder = Path(name)
        with connected(f"sqlite:///{folder}/bbs.sqlite3", create=True) as database:
            migrations.upgrade(database)
            fill(time.time())
            with login_server(folder, port):
                wait_for(url)
                page = take(chromium, url)
            expect(page.locator("#lost")).to_contain_text("Last known")
            page.wait_for_timeout(3000)
            keep(page, "lost")


if __name__ == "__main__":
    main()
