"""The instances as they are, and how a description that is some seconds old shows them.

moto answers as if everything happened at once; what is true is kept here, and `show` puts it into
moto's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from tests.standins.instances import CODES, Instance


@dataclass(eq=False, kw_only=True)
class Machine(Instance):
    """One instance. Its addresses are all the same here: one of this machine's loopback addresses.

    `stops_as` is the state that it ends in when it powers itself off. `volumes` are those that it
    was launched with, by their device's name, with what was asked (`Encrypted`, `VolumeType`, …),
    and `volume_tags` theirs. `booted`: its user data has been run. `interrupted`: when it will be
    taken away, as it has been told; `rebalance`: when it was told that this may be soon.
    """

    image_id: str
    stops_as: str
    user_data: str = ""
    pid: int | None = None
    zone: str = ""
    profile: str = ""
    booted: bool = False
    interrupted: float | None = None
    rebalance: float | None = None
    volumes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    volume_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether it exists, and costs."""
        return self.there

    @property
    def asked_to_end(self) -> bool:
        """Whether it was terminated while it ran, and did not end by itself."""
        return any(state == "shutting-down" for _, state in self.history)


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
    hidden: Container[str] = (),
) -> None:
    """Make moto's answer say what was so at `time`.

    Instances that were unknown then, or whose state is not `wanted`, are left out, and `hidden`
    ones, by their ids.
    """
    for parent, item in list(items(root)):
        machine = machines.get(text(item, "instanceId"))
        if machine is None:
            continue
        state = machine.state_at(time)
        unknown = state is None or not machine.is_known(time) or machine.instance_id in hidden
        if state is None or unknown or not wanted(state):
            parent.remove(item)
            continue
        for name in ("instanceState", "currentState"):
            _set_state(item.find(f"{{*}}{name}"), state)
        if item.find("{*}instanceState") is not None:
            _set(item, "amiLaunchIndex", str(machine.number))  # moto says 0 of each.
            _set_addresses(item, machine, state)
            _set_reasons(item, machine, time)
    for parent in list(root.iter()):
        for reservation in list(parent):
            instances = reservation.find("{*}instancesSet")
            if instances is not None and not len(instances):
                parent.remove(reservation)


def _set_state(element: ElementTree.Element | None, state: str) -> None:
    if element is not None:
        for name, value in (("code", str(CODES[state])), ("name", state)):
            child = element.find(f"{{*}}{name}")
            if child is not None:
                child.text = value


def _set_addresses(item: ElementTree.Element, machine: Machine, state: str) -> None:
    """The private address from the launch on; a public one and a name while it runs, if it has
    them at all. All three are the same here: the machine's loopback address."""
    public = machine.address if state == "running" and machine.public else None
    _set(item, "privateIpAddress", machine.address if state != "terminated" else None)
    _set(item, "ipAddress", public)
    _set(item, "dnsName", public)
    if machine.spot:
        _set(item, "instanceLifecycle", "spot")
        _set(item, "spotInstanceRequestId", "sir-" + machine.instance_id[-8:])


def _set_reasons(item: ElementTree.Element, machine: Machine, time: float) -> None:
    code, message, transition = machine.reason_at(time)
    _set(item, "reason", transition)
    _set(item, "stateReason", "" if code else None)
    if code:
        reason = item.find("{*}stateReason")
        assert reason is not None
        _set(reason, "code", code)
        _set(reason, "message", message)


def _set(item: ElementTree.Element, name: str, value: str | None) -> None:
    """Let an element have one child of a name, with this text, or none for None."""
    namespace = item.tag.partition("}")[0] + "}" if item.tag.startswith("{") else ""
    element = item.find(f"{{*}}{name}")
    if element is not None:
        item.remove(element)
    if value is not None:
        ElementTree.SubElement(item, namespace + name).text = value
