"""Answers of the EC2 API, from XML to what boto3 makes of them.

XML is read as it arrives, a piece in each turn of the reactor, by expat, into a tree; a tree is put
into dictionaries by tables that are made once of botocore's description of the action. A list, such
as that of the instances, is put there item by item, so that whoever asks can give up its turn in
between. botocore's own parser does it all at once: measured, 170 ms of a processor for 200
instances, of which this takes 40, in turns of at most 3.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder  # nosec B405
from xml.parsers.expat import ExpatError, ParserCreate, errors  # nosec B407

# A document type, which all attacks by XML need, is refused; what comes is bounded.

LONGEST = 2**24
"""Bytes of an answer: 1,000 instances, the most that EC2 puts into one, are six million."""


class MalformedResponse(Exception):
    """What came is no answer of EC2's; a word says why."""


class Document:
    """An XML document that arrives in pieces."""

    def __init__(self) -> None:
        self._size = 0
        self._builder = TreeBuilder()
        self._parser = ParserCreate("utf-8")
        self._parser.buffer_text = True
        # From C to C: no name of a namespace, and no call of Python's for an element.
        self._parser.StartElementHandler = self._builder.start
        self._parser.EndElementHandler = self._builder.end
        self._parser.CharacterDataHandler = self._builder.data
        self._parser.StartDoctypeDeclHandler = _refuse_type

    def feed(self, data: bytes) -> None:
        """The next piece.

        :raises NotAnAnswer: it is none, or there has been too much.
        """
        self._size += len(data)
        if self._size > LONGEST:
            raise MalformedResponse("TooLong")
        try:
            self._parser.Parse(data, False)
        except ExpatError:
            raise MalformedResponse("NoXML") from None

    def root(self) -> Element:
        """The whole, when all has come.

        :raises NotAnAnswer: something is missing.
        """
        try:
            self._parser.Parse(b"", True)
        except ExpatError as error:
            short = "CutShort" if self._size else "Empty"
            raise MalformedResponse(short if error.code in _CUT_SHORT else "NoXML") from None
        return self._builder.close()


_CUT_SHORT = {
    errors.codes[message]
    for message in (
        errors.XML_ERROR_NO_ELEMENTS,
        errors.XML_ERROR_PARTIAL_CHAR,
        errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        errors.XML_ERROR_UNCLOSED_TOKEN,
    )
}


def _refuse_type(*_: object) -> NoReturn:
    raise MalformedResponse("NoXML")


def error_in(root: Element) -> tuple[str, str] | None:
    """The code and the message of an error that is answered, or None for another answer."""
    error = root.find("Errors/Error")
    if error is None:
        error = root.find("Error")
    if error is None:
        return None
    return error.findtext("Code") or "", error.findtext("Message") or ""


class ResponseParser:
    """Reads the answers of an action.

    :param shape: botocore's description of its output (`botocore.model.StructureShape`).
    """

    def __init__(self, shape: Any) -> None:
        self._fields = _fields(shape, {}) if shape is not None else {}

    def steps(self, root: Element, answer: dict[str, Any]) -> Iterator[None]:
        """Put what is in the tree into `answer`; pauses after each item of a list.

        :raises NotAnAnswer: a value is none of its kind.
        """
        try:
            for child in root:
                field = self._fields.get(child.tag)
                if field is None:
                    continue
                name, read = field
                if isinstance(read, _List):
                    items = answer[name] = []
                    for item in child:
                        items.append(read.item(item))
                        yield
                else:
                    answer[name] = read(child)
        except (ValueError, OverflowError):
            raise MalformedResponse("OddValue") from None


_Read = Callable[[Element], Any]
_Fields = dict[str, tuple[str, _Read]]


class _List:
    """Reads a list, whatever its items are called."""

    def __init__(self, item: _Read) -> None:
        self.item = item

    def __call__(self, node: Element) -> list[Any]:
        item = self.item
        return [item(child) for child in node]


def _fields(shape: Any, known: dict[str, _Read]) -> _Fields:
    return {
        member.serialization.get("name", name): (name, _reader(member, known))
        for name, member in shape.members.items()
    }


def _reader(shape: Any, known: dict[str, _Read]) -> _Read:
    """What reads a value; `known` has what reads structures by their name, as one may have another
    of its own kind in it."""
    if shape.serialization.get("flattened") or shape.serialization.get("xmlAttribute"):
        raise NotImplementedError(f"{shape.name}: not in EC2's protocol")
    if shape.type_name == "list":
        return _List(_reader(shape.member, known))
    if shape.type_name != "structure":
        return _VALUES[shape.type_name]
    if shape.name not in known:
        fields: _Fields = {}

        def read(node: Element) -> dict[str, Any]:
            found = {}
            for child in node:
                field = fields.get(child.tag)
                if field is not None:
                    found[field[0]] = field[1](child)
            return found

        known[shape.name] = read
        fields.update(_fields(shape, known))
    return known[shape.name]


def _text(node: Element) -> str:
    return node.text or ""


def _integer(node: Element) -> int:
    return int(node.text or "")


def _number(node: Element) -> float:
    return float(node.text or "")


def _boolean(node: Element) -> bool:
    return node.text == "true"


def _moment(node: Element) -> datetime:
    """Such as 2026-11-27T22:03:44.000Z; without a zone it is UTC's, as EC2 has no other."""
    moment = datetime.fromisoformat(node.text or "")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bytes(node: Element) -> bytes:
    return base64.b64decode(node.text or "")


_VALUES: Mapping[str, _Read] = {
    "blob": _bytes,
    "boolean": _boolean,
    "character": _text,
    "double": _number,
    "float": _number,
    "integer": _integer,
    "long": _integer,
    "string": _text,
    "timestamp": _moment,
}
