"""The instances as they are, and how a description that is some seconds old shows them.

moto answers as if everything happened at once; what is true is kept here, and `show` puts it into
moto's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

CODES: Mapping[str, int] = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopped": 80,
}
"""The states that instances have here, by their names and EC2's numbers."""

ENDED = ("shutting-down", "terminated")

TERMINATED_SHOWN = 3600.0
"""Seconds for which EC2 describes an instance that has ended."""


@dataclass
class Machine:
    """One instance.

    `token` is the ClientToken of its launch, `stops_as` the state that it ends in when it powers
    itself off, `history` its states so far, each with the time of its beginning.
    """

    instance_id: str
    address: str
    kind: str
    image_id: str
    subnet_id: str
    token: str
    tags: Mapping[str, str]
    stops_as: str
    history: list[tuple[float, str]] = field(default_factory=list)
    user_data: str = ""
    pid: int | None = None

    @property
    def state(self) -> str:
        """The present state."""
        return self.history[-1][1]

    @property
    def alive(self) -> bool:
        """Whether it exists, and costs."""
        return self.state not in ENDED

    @property
    def asked_to_end(self) -> bool:
        """Whether it was terminated while it ran, and did not end by itself."""
        return any(state == "shutting-down" for _, state in self.history)

    def becomes(self, state: str, now: float) -> None:
        """Go on to another state; one that has ended stays so."""
        if CODES[state] != CODES[self.state] and self.state != "terminated":
            self.history.append((now, state))

    def state_at(self, time: float) -> str | None:
        """The state that it had at `time`; None before its launch."""
        states = [state for since, state in self.history if since <= time]
        return states[-1] if states else None

    def is_known(self, time: float) -> bool:
        """Whether a description made at `time` has it."""
        state, since = self.state_at(time), self.history[-1][0]
        return state is not None and not (state == "terminated" and time - since > TERMINATED_SHOWN)


def items(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    """The elements of an answer that speak of an instance, each with its parent."""
    for parent in root.iter():
        for item in list(parent):
            if item.find("{*}instanceId") is not None and (
                item.find("{*}instanceState") is not None
                or item.find("{*}currentState") is not None
            ):
                yield parent, item


def text(item: ElementTree.Element, name: str) -> str:
    """The text of an element below `item`."""
    return item.findtext(f"{{*}}{name}") or ""


def tags(item: ElementTree.Element) -> dict[str, str]:
    """The tags of an instance."""
    return {text(tag, "key"): text(tag, "value") for tag in item.iterfind("{*}tagSet/{*}item")}


def show(
    root: ElementTree.Element,
    machines: Mapping[str, Machine],
    time: float,
    wanted: Callable[[str], bool] = lambda state: True,
) -> None:
    """Make moto's answer say what was so at `time`.

    Instances that were unknown then, or whose state is not `wanted`, are left out.
    """
    for parent, item in list(items(root)):
        machine = machines.get(text(item, "instanceId"))
        if machine is None:
            continue
        state = machine.state_at(time)
        if state is None or not machine.is_known(time) or not wanted(state):
            parent.remove(item)
            continue
        for name in ("instanceState", "currentState"):
            _set_state(item.find(f"{{*}}{name}"), state)
        if item.find("{*}instanceState") is not None:
            _set_addresses(item, machine, state)
    for parent in list(root.iter()):
        for reservation in list(parent):
            instances = reservation.find("{*}instancesSet")
            if instances is not None and not len(instances):
                parent.remove(reservation)


def show_previous(item: ElementTree.Element, state: str) -> None:
    """Make the answer to an ending say what state an instance had before."""
    _set_state(item.find("{*}previousState"), state)


def _set_state(element: ElementTree.Element | None, state: str) -> None:
    if element is not None:
        for name, value in (("code", str(CODES[state])), ("name", state)):
            child = element.find(f"{{*}}{name}")
            if child is not None:
                child.text = value


def _set_addresses(item: ElementTree.Element, machine: Machine, state: str) -> None:
    """The private address from the launch on; a public one and a name while it runs. All three are
    the same here: the machine's loopback address."""
    shown = {
        "privateIpAddress": machine.address if state != "terminated" else None,
        "ipAddress": machine.address if state == "running" else None,
        "dnsName": machine.address if state == "running" else None,
    }
    namespace = item.tag.partition("}")[0] + "}" if item.tag.startswith("{") else ""
    for name, value in shown.items():
        element = item.find(f"{{*}}{name}")
        if element is not None:
            item.remove(element)
        if value:
            ElementTree.SubElement(item, namespace + name).text = value
