"""The template of `deploy/cloudformation`: read, and asked as CloudFormation asks."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from unittest import mock

from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped]

from tests.paths import CHECKOUT

FOLDER = CHECKOUT / "deploy/cloudformation"
PATH = FOLDER / "bbs.yaml"


PROGRAMS = CHECKOUT / "deploy/image/stack"
"""What user data calls, which the image has."""


def program(name: str) -> Any:
    """One of the programs, as a module."""
    with mock.patch.object(sys, "path", [str(PROGRAMS), *sys.path]):
        return importlib.import_module(name)


def variables(script: str) -> dict[str, str]:
    """The variables that user data writes for the programs."""
    matched = re.search(r"stack.env <<'END'\n(.*?)\nEND\n", script, re.DOTALL)
    assert matched is not None
    return dict(line.split("=", 1) for line in matched[1].splitlines())


@cache
def text() -> str:
    """The template as JSON, with the long names of functions."""
    return json.dumps(cfn_yaml.load(str(PATH)))


def template() -> dict[str, Any]:
    """A copy of it."""
    whole: dict[str, Any] = json.loads(text())
    return whole


def refusals(given: Mapping[str, str]) -> list[str]:
    """What CloudFormation says of parameters before it makes anything; nothing if they fit."""
    whole = template()
    declared = whole["Parameters"]
    if unknown := given.keys() - declared.keys():
        return [f"there is no {name}" for name in sorted(unknown)]
    if missing := {name for name in declared if "Default" not in declared[name]} - given.keys():
        return [f"{name} is missing" for name in sorted(missing)]
    values = {name: str(each.get("Default")) for name, each in declared.items()} | dict(given)
    found = [
        f"{name}: {said}"
        for name, value in values.items()
        for said in _wrong(declared[name], value)
    ]
    # Rules are looked at when each parameter fits by itself.
    return found or [*_broken_rules(whole["Rules"], values)]


def _wrong(declared: Mapping[str, Any], value: str) -> Iterator[str]:
    """What is wrong with one value."""
    if "AllowedValues" in declared and value not in map(str, declared["AllowedValues"]):
        yield f"not one of {declared['AllowedValues']}"
    if "AllowedPattern" in declared and not re.fullmatch(declared["AllowedPattern"], value):
        yield declared["ConstraintDescription"]
    if declared["Type"] == "Number":
        try:
            number = float(value)
        except ValueError:
            yield "no number"
        else:
            if not declared.get("MinValue", number) <= number <= declared.get("MaxValue", number):
                yield "too little or too much"
    if declared["Type"] == "AWS::EC2::Image::Id" and not re.fullmatch("ami-[0-9a-f]+", value):
        yield "no image"


def _broken_rules(rules: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[str]:
    for rule in rules.values():
        for each in rule["Assertions"]:
            if not holds(each["Assert"], values):
                yield each["AssertDescription"]


def holds(condition: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether a condition holds for parameters."""
    ((function, arguments),) = condition.items()
    if function == "Fn::Equals":
        one, other = (values[it["Ref"]] if isinstance(it, dict) else str(it) for it in arguments)
        return one == other
    each = [holds(argument, values) for argument in arguments]
    return {"Fn::And": all, "Fn::Or": any, "Fn::Not": lambda it: not it[0]}[function](each)  # type: ignore[operator]
