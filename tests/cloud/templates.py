"""Launch templates: what is in each version of each, and what a launch from one asks for.

moto answers the calls about them, but launches with a part of what is in them. Here a launch is
told in full, as EC2 understands it: what the request says goes before what the template says, a
block device mapping by its device's name, a tag by its key, and all else as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from tests.standins.ec2 import APIError, check_combination

_DATA = "LaunchTemplateData."

Parameters = Mapping[str, str]
"""A query's, as EC2 has them: `SecurityGroupId.1`, `BlockDeviceMapping.1.Ebs.Encrypted`."""


@dataclass
class Template:
    """One launch template; the versions by their numbers, of which none is used twice."""

    id: str
    name: str
    versions: dict[int, dict[str, str]]
    default: int = 1

    @property
    def latest(self) -> int:
        """The number of the newest version."""
        return max(self.versions)

    def number(self, version: str) -> int:
        """The number that `$Default`, `$Latest`, nothing, or a number stands for."""
        if version in ("$Default", ""):
            return self.default
        if version == "$Latest":
            return self.latest
        if version.isdigit() and int(version) in self.versions:
            return int(version)
        raise APIError(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"Could not find the specified version {version} for the launch template with ID"
            f" {self.id}.",
        )


@dataclass
class Templates:
    """All launch templates, by their ids."""

    by_id: dict[str, Template] = field(default_factory=dict)

    def learn(self, asked: Parameters, answer: ElementTree.Element) -> None:
        """A call about them has succeeded."""
        action = asked["Action"]
        if action == "CreateLaunchTemplate":
            id = answer.findtext(".//{*}launchTemplateId", "")
            self.by_id[id] = Template(id, asked["LaunchTemplateName"], {1: _data(asked)})
            return
        if action == "DescribeLaunchTemplates":
            return
        template = self.find(asked.get("LaunchTemplateId"), asked.get("LaunchTemplateName"))
        if action == "CreateLaunchTemplateVersion":
            data = _data(asked)
            if source := asked.get("SourceVersion"):
                data = merged(data, template.versions[template.number(source)])
            template.versions[template.latest + 1] = data
        elif action == "ModifyLaunchTemplate":
            template.default = template.number(asked.get("SetDefaultVersion", ""))
        elif action == "DeleteLaunchTemplate":
            del self.by_id[template.id]

    def find(self, id: str | None, name: str | None) -> Template:
        """The one of an id, or of a name."""
        for template in self.by_id.values():
            if template.id == id or (id is None and template.name == name):
                return template
        if id is not None:
            raise APIError(
                "InvalidLaunchTemplateId.NotFound",
                f"The specified launch template, with template ID {id}, does not exist.",
            )
        raise APIError(
            "InvalidLaunchTemplateName.NotFoundException",
            f"The specified launch template, with template name {name}, does not exist.",
        )

    def in_full(self, asked: Parameters) -> dict[str, str]:
        """A launch with what its template adds, which is named by id and number then.

        :raises APIError: there is no such template or version, or what it has and what is asked
            exclude each other.
        """
        whole = dict(asked)
        if any(name.startswith("LaunchTemplate.") for name in asked):
            template = self.find(
                asked.get("LaunchTemplate.LaunchTemplateId"),
                asked.get("LaunchTemplate.LaunchTemplateName"),
            )
            number = template.number(asked.get("LaunchTemplate.Version", ""))
            whole = merged(asked, template.versions[number])
            whole.pop("LaunchTemplate.LaunchTemplateName", None)
            whole["LaunchTemplate.LaunchTemplateId"] = template.id
            whole["LaunchTemplate.Version"] = str(number)
        check_combination(name.partition(".")[0] for name in whole)
        return whole


def merged(asked: Parameters, beneath: Parameters) -> dict[str, str]:
    """`asked`, and what only `beneath` says."""
    said = {name.partition(".")[0] for name in asked}
    whole = dict(asked)
    whole.update(
        {name: value for name, value in beneath.items() if name.partition(".")[0] not in said}
    )
    for group, key in (("BlockDeviceMapping", "DeviceName"), ("TagSpecification", "ResourceType")):
        if group in said:
            _merge_items(whole, beneath, group, key)
    return whole


def items(parameters: Parameters, group: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The items of a list in a query, each with its number and what is below it."""
    found: dict[str, dict[str, str]] = {}
    for name, value in parameters.items():
        if name.startswith(f"{group}."):
            number, _, rest = name.removeprefix(f"{group}.").partition(".")
            found.setdefault(number, {})[rest] = value
    yield from found.items()


def tags(parameters: Parameters, resource: str) -> dict[str, str]:
    """The tags that a launch asks for, of a type of resource."""
    return {
        tag["Key"]: tag.get("Value", "")
        for _, specification in items(parameters, "TagSpecification")
        if specification.get("ResourceType") == resource
        for _, tag in items(specification, "Tag")
    }


def _merge_items(whole: dict[str, str], beneath: Parameters, group: str, key: str) -> None:
    """Add the items of `beneath`: those that `whole` has too, by `key`, below what it says."""
    own = {item.get(key): (number, item) for number, item in items(whole, group)}
    last = max(int(number) for number, _ in own.values())
    for _, item in items(beneath, group):
        number, mine = own.get(item.get(key), ("", {}))
        if not number:
            last += 1
            number = str(last)
        if group == "TagSpecification":
            keys = {tag["Key"] for _, tag in items(mine, "Tag")}
            numbers = [int(each) for each, _ in items(mine, "Tag")]
            for place, (_, tag) in enumerate(items(item, "Tag"), max(numbers, default=0) + 1):
                if tag["Key"] not in keys:
                    for name, value in tag.items():
                        whole[f"{group}.{number}.Tag.{place}.{name}"] = value
            whole[f"{group}.{number}.ResourceType"] = item.get("ResourceType", "")
            continue
        for name, value in item.items():
            whole.setdefault(f"{group}.{number}.{name}", value)


def _data(asked: Parameters) -> dict[str, str]:
    return {
        name.removeprefix(_DATA): value for name, value in asked.items() if name.startswith(_DATA)
    }
