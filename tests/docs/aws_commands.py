"""Commands of the AWS CLI in documents, held against the services as botocore describes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name

OF_THE_CLI = {("cloudformation", "deploy"), ("logs", "tail")}
"""Commands that are the CLI's own, and no call of a service."""

EVERYWHERE = {"--query", "--output", "--region"}

OTHERWISE = {("ec2", "create-network-acl-entry"): {"--ingress": "--egress"}}
"""What the CLI calls otherwise than the service."""

_WORD = r"""(?:[^\s|;&()"']|"[^"]*"|'[^']*')+"""
_COMMAND = re.compile(rf"(?<![\w/-])aws ([a-z][a-z0-9]*) ([a-z][a-z0-9-]*)((?: +{_WORD})*)")


@cache
def _calls(service: str) -> Mapping[str, Any]:
    """The calls of a service, by their names at the CLI."""
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(each, "-"): model.operation_model(each) for each in model.operation_names}


@cache
def _waits(service: str) -> Mapping[str, str]:
    """What can be waited for at a service, with the call that is asked again and again."""
    model = botocore.session.get_session().get_waiter_model(service)
    return {
        xform_name(name, "-"): xform_name(model.get_waiter(name).operation, "-")
        for name in model.waiter_names
    }


def strangers(text: str) -> Iterator[str]:
    """What a text gives to commands of AWS's that they do not know, and what it does not give."""
    # What a shell puts in is looked at by itself.
    while inner := re.findall(r"\$\(([^()]*)\)", text):
        for each in inner:
            yield from strangers(each)
        text = re.sub(r"\$\([^()]*\)", "X", text)
    for service, command, rest in _COMMAND.findall(text):
        if (service, command) not in OF_THE_CLI:
            for each in _strangers(service, command, shlex.split(rest)):
                yield f"{service} {command} {each}"


def _strangers(service: str, command: str, words: list[str]) -> Iterator[str]:
    calls = _calls(service)
    name = _waits(service)[words[0]] if command == "wait" else command
    if name not in calls:
        yield "is no command"
        return
    call, otherwise = calls[name], OTHERWISE.get((service, command), {})
    given = {otherwise.get(word, word) for word in words if word.startswith("--")}
    options = {f"--{xform_name(member, '-')}" for member in call.input_shape.members}
    for option in sorted(given - options - EVERYWHERE):
        if option.replace("--no-", "--", 1) not in options:
            yield option
    for member in call.input_shape.required_members:
        if f"--{xform_name(member, '-')}" not in given:
            yield f"without {member}"
