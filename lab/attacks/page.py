"""Attacks on the operators' page, with visitors of the page beside them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.attacks.server import Target
from lab.attacks.values import Attack, Outcome

STATUS = "HTTP/1.1 "
OK = "HTTP/1.1 200"

CLOSE = "Connection: close"

FORM = (
    "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-BBS: 1\r\nConnection: close\r\n"
    "Content-Type: a\x0cb\r\nContent-Length: 3\r\n\r\na=b"
)
"""A form of a type for which Python's `email` raises an exception."""


def filled_in(floods: Sequence[Mapping[str, Any]], target: Target) -> Sequence[Mapping[str, Any]]:
    """`floods`, with the operator's password for `{password}`, the cookies that a login with it
    sets for `{session}` and `{device}`, and the length of the body for `{length}`."""
    wanted = " ".join(each["payload"] for each in floods)
    if not any(word in wanted for word in ("{password}", "{session}", "{device}")):
        return floods
    password = (target.data / "operator-password").read_text().strip()
    words = {"{password}": password, **_cookies(target.page, password)}

    def fill_in(payload: str) -> str:
        for word, value in words.items():
            payload = payload.replace(word, value)
        return payload.replace("{length}", str(len(payload.partition("\r\n\r\n")[2])))

    return [{**each, "payload": fill_in(each["payload"])} for each in floods]


def _cookies(port: int, password: str) -> Mapping[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"X-BBS": "1", "Content-Type": "application/json"}
    connection.request("POST", "/login", json.dumps({"password": password}), headers)
    response = connection.getresponse()
    connection.close()
    found = [each.partition(";")[0] for each in response.headers.get_all("Set-Cookie") or []]
    words = {"{session}": "bbs_operator_", "{device}": "bbs_device_"}
    return {
        word: next((each for each in found if each.startswith(name)), "x=")
        for word, name in words.items()
    }


def _get(path: str, *headers: str) -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])


def _log_in(name: str, password: str, *headers: str, length: object = "{length}") -> str:
    lines = ["POST /login HTTP/1.1", "Host: 127.0.0.1", "X-BBS: 1", *headers]
    lines += ["Content-Type: application/json", f"Content-Length: {length}", ""]
    return "\r\n".join([*lines, json.dumps({"name": name, "password": password})])


def _guess(name: str, *headers: str) -> str:
    """A login with a wrong password."""
    body = json.dumps({"name": name, "password": "wrong"})
    return _log_in(name, "wrong", *headers, length=len(body))


def _flood(payload: str, **more: Any) -> Mapping[str, Any]:
    return {"port": "page", "payload": payload, "mark": STATUS, **more}


def _visitor(payload: str, net: int, again: float = 0.2) -> Mapping[str, Any]:
    """Somebody who asks, is answered, and comes back a moment later. `payload` asks for the end of
    the connection."""
    return _flood(payload, connections=1, times=1, again=again, net=net, mark=OK)


def _visitor_is_answered(outcome: Outcome) -> Sequence[str]:
    """The visitor, who is the last of the floods, gets what was asked for."""
    visitor = outcome.floods[-1]
    # The first may come before the attackers, and one may be under way at the end.
    missed = visitor["sent"] - 1 - visitor["answered"]
    if visitor["sent"] > 1 and missed <= 0.02 * visitor["sent"]:
        return []
    return [f"the page's visitor asked {visitor['sent']}× and got {visitor['answered']} answers"]


def _pipelines_are_answered(number: int) -> Callable[[Outcome], Sequence[str]]:
    def shows(outcome: Outcome) -> Sequence[str]:
        answered = outcome.floods[-1]["answered"]
        return [] if answered >= number else [f"{answered} of {number} pipelined were answered"]

    return shows


HELD = _flood("", opening=_get("/health"), connections=300, addresses=15)
"""As many connections as the page has."""

FEW = {"limits.failed_logins": "1/minute"}
"""So that a lock-out takes 10 wrong passwords, which are hashed in a second or two, and not 200."""

PAGE: tuple[Attack, ...] = (
    Attack(
        "page-forms",
        "20 connections pipeline a form of a malformed type, while 5 others pipeline requests",
        (
            _flood(_get("/health") + FORM, connections=20, addresses=4, times=1, again=0.01),
            _flood(_get("/health"), connections=5, net=11, times=200, reopens=False),
        ),
        ("page-forms",),
        shows=_pipelines_are_answered(1000),
    ),
    Attack(
        "page-tracebacks",
        "20 connections send forms of a malformed type, and nothing else",
        (_flood(FORM, connections=20, addresses=4, times=1, again=0.01),),
        ("page-forms", "log-repeats"),
    ),
    Attack(
        "page-held",
        "15 addresses hold 20 connections to the page each, while somebody visits it",
        (HELD, _visitor(_get("/", CLOSE), 13)),
        ("page-way",),
        lead=1.0,
        shows=_visitor_is_answered,
    ),
    Attack(
        "page-operators",
        "15 addresses hold 20 connections to the page each, while an operator at one of them reads",
        (HELD, _visitor(_get("/state", "Cookie: {session}", CLOSE), 10)),
        ("page-way",),
        lead=1.0,
        shows=_visitor_is_answered,
    ),
    Attack(
        "page-guesses",
        "12 addresses guess the password of an operator, who logs in from a known browser",
        (
            _flood(_guess("operator"), connections=12, addresses=12),
            _visitor(_log_in("operator", "{password}", "Cookie: {device}", CLOSE), 13),
        ),
        ("page-devices",),
        options=FEW,
        shows=_visitor_is_answered,
    ),
    Attack(
        "page-proxied",
        "200 clients guess passwords through the proxy through which an operator logs in",
        (
            _flood(
                "".join(
                    _guess(f"nobody{number}", "X-Forwarded-For: 203.0.113.{r}")
                    for number in range(24)
                ),
                connections=5,
            ),
            _visitor(_log_in("operator", "{password}", "X-Forwarded-For: 198.51.100.7", CLOSE), 10),
        ),
        ("trusted-proxies",),
        options={**FEW, "web.trusted_proxies": ("127.0.0.0/8",)},
        shows=_visitor_is_answered,
    ),
    Attack(
        "page-history",
        "20 connections pipeline requests for the plots of servers that nobody has",
        (_flood(_get("/history?server={n}"), connections=20, addresses=20),),
        ("page-plots", "page-turns"),
    ),
)
