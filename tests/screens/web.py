"""Pictures of the operators' page: `python -m tests.screens.web`, from the project's folder.

A real login server serves the page, on a database in which the rows of twelve app servers, in every
state, are made up and kept moving; a controller of the fleet that is somewhere else leaves them to
it. The hour before and its events are made up too, as another login server would have left them.
They go to `docs/screens`.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Page, expect

from bbs.board import board
from bbs.board.announcements.tables import Announcement
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages.tables import Inbox
from bbs.cli.offline import connected
from bbs.core.values import DrainCause, LossCause
from bbs.rules import fleets, page_history
from bbs.rules.fleet_admin import By
from bbs.rules.membership import FLEET_LEASE
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.rules.servers import ServerRow, explain
from bbs.storage import migrations
from bbs.storage.models import (
    Action,
    Lease,
    LoginServer,
    Place,
    Point,
    Server,
    Session,
    User,
    Waiter,
)
from bbs.web.history import OWN, POINTS, STEP
from tests.screens.png import small
from tests.services.servers import free_port
from tests.web.browser import NARROW, WIDE, Chromium
from tests.web.page_server import TOPS

SCREENS = Path("docs/screens")
PASSWORD = "correct horse"
CONFIG = """
[database]
url = "sqlite:///{folder}/bbs.sqlite3"
[fleet]
provider = "local"
maximum = 16
lost_after = 86400.0
[web]
listen = "tcp:{port}:interface=127.0.0.1"
password_file = "{folder}/passwords"
"""

# State, people, cause and reason, provider, type, age (s): those that are older than the pictures
# are ready at first.
NONE = ("", "")
KILLED = (LossCause.ENDED, "ended: killed by SIGKILL")
FLEET = (
    ("ready", 10, NONE, "ec2:bbs", "t3.micro", 93200.0),
    ("ready", 9, NONE, "ec2:bbs", "t3.micro", 21000.0),
    ("ready", 7, NONE, "ec2:bbs", "t3.micro", 20950.0),
    ("ready", 10, NONE, "ec2:bbs", "t3.micro", 9600.0),
    ("draining", 3, (DrainCause.OPERATOR, ""), "ec2:bbs", "t3.micro", 8200.0),
    ("ready", 4, NONE, "operator", None, 7300.0),
    ("lost", 0, KILLED, "ec2:bbs", "t3.small", 5400.0),
    ("ready", 2, NONE, "ec2:bbs", "t3.micro", 3100.0),
    ("gone", 0, (DrainCause.IDLE, ""), "ec2:bbs", "t3.micro", 2500.0),
    ("ready", 0, NONE, "ec2:bbs", "t3.micro", 2.7),
    ("launching", 0, NONE, "ec2:bbs", "t3.micro", 0.0),
    ("launching", 0, NONE, "ec2:bbs", "t3.micro", 0.0),
)
NAMES = ("ann", "bob", "chess-fan", "dora", "emil", "林小明", "Ørjan", "grace", "山田太郎", "zoë")


MALLORY = "mallory"
"""Who spams."""


def an_id(number: int) -> str:
    """The id of a server, the same each time that the pictures are made."""
    return f"{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"


def fill(now: float) -> None:
    """The fleet as it begins, with a controller that is elsewhere."""
    LoginServer.insert(id="elsewhere", identity="", logins=0).execute()
    Lease.insert(name=FLEET_LEASE, holder="elsewhere", identity="").execute()
    for number, (_, people, _, _, _, age) in enumerate(FLEET):
        if age > 10.0:
            launch(number, now - age)
            become_ready(number, 1.9 + number / 10)
        for place in range(people):
            name = f"{NAMES[(number + place) % len(NAMES)]}{number or ''}"
            user = a_user(name, now, now - 20.0 * place)
            Place.insert(user=user, server=an_id(number)).execute()
    user = a_user(MALLORY, now - 7200.0, now - 3.0)
    Place.insert(user=user, server=an_id(7)).execute()
    for back in range(2):
        Session.insert(digest=f"{back}" * 64, user=user, used=now).execute()
    for number in range(3):
        away = a_user(f"malik{number or ''}", now - 9e6, now - 1500.0)
        Place.insert(user=away, away=True).execute()


def fill_lists(now: float) -> None:
    """Groups with members, and announcements."""
    people = [user.id for user in User.select().order_by(User.id)]
    for number, (name, private) in enumerate(GROUPS):
        owner = people[number * 3 % len(people)]
        group = Group.insert(
            name=name, channel=f"g{number}", creator=owner, private=private
        ).execute()
        for user in people[: 5 * number % 23 + 1]:
            Membership.insert(user=user, group=group).execute()
    for text, ago, until in ANNOUNCEMENTS:
        end = None if until is None else now + until
        Announcement.insert(text=text, stored=now - ago, until=end).execute()


GROUPS = (
    ("travel", False),
    ("cooking", False),
    ("林小明の部屋", True),
    ("film-club", True),
    ("chess", False),
    ("go", False),
)
ANNOUNCEMENTS = (
    ("Welcome to the board. Be kind to each other.", 90000.0, None),
    ("The board is down from nine to ten", 900.0, 7200.0),
)


def a_user(name: str, created: float, seen: float) -> int:
    """An account, with what the board keeps of it."""
    user: int = User.insert(
        name=name, password_hash="", channel=secrets.token_hex(16), created=created, seen=seen
    ).execute()
    Inbox.insert(user=user, posts=7).execute()
    return user


def remember(now: float) -> None:
    """The hour before, and its events, as a login server wrote them down that is gone."""
    for step in range(POINTS):
        at = now - (POINTS - step) * STEP
        series = a_point(step)
        own = {name: series.pop(name) for name in OWN}
        old = [number for number, (*_, age) in enumerate(FLEET) if now - at < age]
        series["servers_own"] = {
            an_id(number): [wave(step, number, 10), wave(step, number + 3, 20)] for number in old
        }
        Point.insert(at=at, series=json.dumps(series)).execute()
        Point.insert(at=at, login_server="before", series=json.dumps(own)).execute()
    for ago, kind, server, value in BEFORE:
        page_history.add(FleetEvent(kind, now - ago, server, number=value))
    fleets.note_backup(By("root", "bbs backup", now - 10140.0), "bbs-Mon.sqlite3")
    for ago, action, target, detail in (
        (91000.0, "launch", an_id(3), None),
        (88000.0, "kick", "", None),
        (2000.0, "group-remove", "", "spam-and-more"),
        (900.0, "announce", "", ANNOUNCEMENTS[1][0]),
    ):
        person = "林小明" if action == "kick" else None
        Action.insert(
            at=now - ago,
            operator="liz",
            address="192.0.2.9",
            action=action,
            target=target,
            person=person,
            detail=detail,
        ).execute()


BEFORE = (
    (90100.0, EventKind.BROKER_AWAY, "", None),
    (90080.0, EventKind.BROKER_BACK, "", None),
    (3100.0, EventKind.READY, an_id(7), 2.7),
    (1240.0, EventKind.PEOPLE_WAIT, "", 5),
    (1180.0, EventKind.NOBODY_WAITS, "", None),
)


def wave(step: int, number: int, top: float) -> int:
    """Something with ups and downs."""
    noise = math.sin(step * 12.9898 + number) * 43758.5453 % 1
    return round(top * (0.5 + 0.35 * math.sin(step / (25 + 6 * number) + number) + 0.15 * noise))


def a_point(at: int) -> dict[str, Any]:
    """A point of the hour before."""
    values: dict[str, Any] = {}
    for number, (name, top) in enumerate(TOPS.items()):
        noise = math.sin(at * 12.9898 + number) * 43758.5453 % 1
        height = top * (0.5 + 0.35 * math.sin(at / (25 + 6 * number) + number) + 0.15 * noise)
        whole = name in ("free_places", "servers", "connected")
        values[name] = round(height) if whole else height
    waits = 225 < at < 245
    values["waiting"] = at % 4 + 1 if waits else 0
    values["longest_wait"] = (at - 225) * 0.6 if waits else None
    values["launches"] = 0 if at % 23 else 1
    values["errors_per_minute"] = 3 if 90 < at < 97 else 0
    values["failed_logins_per_minute"] = at % 3 if at % 11 < 2 else 0
    if at % 23:
        values["launch_seconds"] = None
    return values


def launch(number: int, now: float) -> None:
    """A server is launched."""
    _, people, _, scope, kind, _ = FLEET[number]
    values = {"id": an_id(number), "scope": scope, "capacity": 10, "taken": people, "kind": kind}
    instance = None if kind is None else f"i-0{an_id(number)[8:16]}"
    figures = json.dumps({"connected": people - people // 4})
    Server.insert(
        **values, created=now, instance_id=instance, messages=0, figures=figures
    ).execute()


def become_ready(number: int, after: float) -> None:
    """A server is ready so many seconds after it was launched."""
    server = Server.get_by_id(an_id(number))
    place = {"host": f"203.0.113.{number + 11}", "port": 22223}
    change(number, state="ready", ready=server.created + after, **place)


def change(number: int, **values: object) -> None:
    """Write down what has become of a server."""
    Server.update(**values).where(Server.id == an_id(number)).execute()


def become(number: int, now: float) -> None:
    """A server comes to its state."""
    state, _, (cause, reason), _, _, age = FLEET[number]
    if age <= 10.0:
        launch(number, now - age)
        page_history.add(FleetEvent(EventKind.LAUNCHING, now - age, an_id(number)))
    if state == "draining":
        deed = {"operator": "ops", "address": "192.0.2.7", "action": "drain"}
        Action.insert(at=now, target=an_id(number), **deed).execute()
        page_history.add(FleetEvent(EventKind.DRAIN_ASKED, now, an_id(number)))
    if state == "ready" and age <= 10.0:
        become_ready(number, age)
    elif state != "ready":
        ended = now if state == "gone" else None
        why = {"cause": cause, "reason": reason}
        change(number, state=state, drain_asked=state == "draining", ended=ended, **why)
    row = ServerRow.of(Server.get_by_id(an_id(number)))
    if age <= 10.0 and state == "ready":
        page_history.add(FleetEvent(EventKind.READY, now, row.id, number=row.launch_time))
    elif state in ("draining", "lost", "gone"):
        page_history.add(FleetEvent(EventKind(state), now, row.id, explain(row)))


def move_on(step: int) -> None:
    """What happens in a second: heartbeats, messages, a login."""
    busy = Server.state.in_(["ready", "draining"])
    Server.update(beats=Server.beats + 1, messages=Server.messages + Server.taken * 2).where(
        busy
    ).execute()
    LoginServer.update(logins=LoginServer.logins + step % 2).where(
        LoginServer.id == "elsewhere"
    ).execute()
    Lease.update(beats=Lease.beats + 1).where(Lease.name == FLEET_LEASE).execute()


@contextmanager
def login_server(folder: Path, port: int) -> Iterator[None]:
    """A login server whose page is at `port`."""
    passwords = folder / "passwords"
    passwords.write_text(f"ops:{PASSWORD}\n")
    passwords.chmod(0o600)
    (folder / "bbs.toml").write_text(CONFIG.format(folder=folder, port=port))
    twistd = Path(sys.executable).with_name("twistd")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(twistd, "--nodaemon", "--pidfile=", "bbs-login", "--config", "bbs.toml"),
                *("--data", "data", "--listen", f"tcp:{free_port()}:interface=127.0.0.1"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
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
    page.locator("#login").get_by_label("Name").fill("ops")
    page.locator("#login").get_by_label("Password").fill(PASSWORD)
    page.locator("#login").get_by_label("Password").press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def take(chromium: Chromium, url: str, pictures: dict[str, bytes]) -> Page:
    """Take pictures while the fleet comes to its states; returns a page that is left open."""
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
        since = time.time() - 4.2
        Waiter.insert(id=name, login_server="elsewhere", name=name, since=since).execute()
    for step, (name, page) in enumerate(pages.items()):
        page.locator(".who summary").first.click()
        # Nothing has the focus.
        page.evaluate("document.activeElement.blur()")
        move_on(step)
        page.wait_for_timeout(1000)
        pictures[name] = page.screenshot(full_page=True)
    page = pages[f"{WIDE}-light"]
    page.get_by_role("button", name="Drain").first.click()
    pictures["drain"] = page.screenshot()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Plots of").first.click()
    expect(page.locator("#server-plots .range")).to_have_count(2)
    pictures["server"] = page.locator("#fleet").screenshot()
    page.get_by_role("button", name="Close").click()
    look_after_people(page, pictures)
    look_after_people(pages[f"{NARROW}-dark"], pictures, "-390-dark")
    look_at_lists(page, pictures)
    look_at_lists(pages[f"{NARROW}-dark"], pictures, "-390-dark")
    cry(page, pictures)
    return page


def look_after_people(page: Page, pictures: dict[str, bytes], suffix: str = "") -> None:
    """Somebody is looked for, and about to be suspended."""
    page.get_by_label("A part of the name").fill("mal")
    page.get_by_label("A part of the name").press("Enter")
    page.locator("#found-people").get_by_role("button", name=MALLORY, exact=True).click()
    expect(page.locator("#person-name")).to_have_text(MALLORY)
    page.evaluate("document.activeElement.blur()")
    pictures[f"people{suffix}"] = page.locator("#people").screenshot()
    if suffix:
        return
    page.get_by_role("button", name="Suspend", exact=True).first.click()
    page.get_by_label("Reason").fill("advertises in every group")
    pictures["suspend"] = page.screenshot()
    page.keyboard.press("Escape")


def look_at_lists(page: Page, pictures: dict[str, bytes], suffix: str = "") -> None:
    """What the board has, and what operators do with it."""
    expect(page.locator("#lists")).to_contain_text("chess")
    page.evaluate("document.activeElement.blur()")
    pictures[f"lists{suffix}"] = page.locator("#lists").screenshot()
    page.get_by_role("button", name="Announce").click()
    page.locator("#act").get_by_label("Text").fill("The board is back.")
    if not suffix:
        pictures["announce"] = page.screenshot()
    page.keyboard.press("Escape")


def cry(page: Page, pictures: dict[str, bytes]) -> None:
    """People wait, and the provider launches nothing."""
    for number, (state, *_) in enumerate(FLEET):
        if state == "launching":
            why = {"cause": LossCause.REFUSED, "reason": "refused: no credit"}
            change(number, state="gone", ended=time.time(), **why)
    Lease.update(
        refusal="You have exceeded your maximum vCPU limit", refused_until=time.time() + 60
    ).where(Lease.name == FLEET_LEASE).execute()
    expect(page.locator("#alarm")).not_to_be_empty()
    page.evaluate("scrollTo(0, 0)")
    pictures["alarm"] = page.screenshot(clip={"x": 0, "y": 0, "width": WIDE, "height": 250})


def wait_for(url: str) -> None:
    """Wait until the login server answers."""
    for _ in range(200):
        with suppress(OSError), urlopen(url):
            return
        time.sleep(0.1)
    raise SystemExit(f"nobody answers at {url}")


def main() -> None:
    """Make all pictures."""
    pictures: dict[str, bytes] = {}
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as name, Chromium() as chromium:
        folder = Path(name)
        with connected(f"sqlite:///{folder}/bbs.sqlite3", create=True) as database:
            migrations.upgrade(database, board.schema)
            fill(time.time())
            fill_lists(time.time())
            remember(time.time())
            with login_server(folder, port):
                wait_for(url)
                page = take(chromium, url, pictures)
            expect(page.locator("#lost")).to_contain_text("Last known")
            page.wait_for_timeout(3000)
            pictures["lost"] = page.screenshot()
    for name, picture in pictures.items():
        path = SCREENS / f"web-{name}.png"
        path.write_bytes(small(picture))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
