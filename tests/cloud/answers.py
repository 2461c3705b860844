"""What EC2 answers: its XML, and its errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from tests.standins.ec2 import APIError

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
ElementTree.register_namespace("", NAMESPACE)

JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Answer:
    """What an API answered."""

    status: int
    body: bytes
    content_type: str = "text/xml"

    @property
    def code(self) -> str:
        """The error's code; an empty text when the call succeeded."""
        if self.status < 400:
            return ""
        if self.content_type == JSON:
            return str(json.loads(self.body)["__type"])
        with suppress(ElementTree.ParseError):
            return ElementTree.fromstring(self.body).findtext(".//{*}Code") or str(self.status)
        return str(self.status)


def failure_of(answer: Answer) -> tuple[str, str]:
    """The code and the message of an error in EC2's form."""
    return answer.code, ElementTree.fromstring(answer.body).findtext(".//{*}Message") or ""


def failed(error: APIError) -> Answer:
    """An error in EC2's form."""
    root = ElementTree.Element("Response")
    errors = ElementTree.SubElement(ElementTree.SubElement(root, "Errors"), "Error")
    ElementTree.SubElement(errors, "Code").text = error.code
    ElementTree.SubElement(errors, "Message").text = error.message
    ElementTree.SubElement(root, "RequestID").text = "request"
    return Answer(error.status, _text(root))


def failed_in_json(code: str, message: str, status: int = 400) -> Answer:
    """An error as SSM and Secrets Manager have it."""
    return Answer(status, json.dumps({"__type": code, "message": message}).encode(), JSON)


def answered(action: str, **content: Any) -> Answer:
    """A success in EC2's form: texts, mappings, and sequences, which become `item`s."""
    root = ElementTree.Element(f"{{{NAMESPACE}}}{action}Response")
    _fill(root, {"requestId": "request", **content})
    return written(root)


def written(root: ElementTree.Element) -> Answer:
    """An answer of EC2's."""
    return Answer(200, _text(root))


def _text(root: ElementTree.Element) -> bytes:
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True))


def _fill(element: ElementTree.Element, content: Any) -> None:
    if isinstance(content, Mapping):
        for name, value in content.items():
            _fill(ElementTree.SubElement(element, f"{{{NAMESPACE}}}{name}"), value)
    elif isinstance(content, Sequence) and not isinstance(content, str):
        for value in content:
            _fill(ElementTree.SubElement(element, f"{{{NAMESPACE}}}item"), value)
    else:
        element.text = str(content)
