"""The reference, `docs/api`, names every parameter, unit and error: it is made of docstrings."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from importlib import import_module
from textwrap import dedent
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementedBy
from zope.interface.interface import InterfaceClass, Method

from bbs.core.errors import Refusal
from tests.paths import CHECKOUT

UNIT = re.compile(r"\b(seconds|epoch|share|rates|unit)\b|\[0, 1\)")
"""Words that say what a float counts."""

MAKERS = ("__init__", "__new__", "__post_init__")


def public_names() -> Mapping[str, Any]:
    """What the reference has, by dotted names."""
    modules: Sequence[str] = runpy.run_path(str(CHECKOUT / "docs/conf.py"))["public_modules"]
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in map(import_module, modules)
        for name in module.__all__
    }


class Reference:
    """Finds what docstrings do not say. What a class says holds for its methods."""

    def __init__(self, public: Mapping[str, Any]) -> None:
        self._public = public
        self._errors = {name.rpartition(".")[2] for name in public} | {*vars(builtins)}

    def gaps(self) -> Iterator[str]:
        for name, thing in self._public.items():
            if isinstance(thing, InterfaceClass):
                yield from self._of_interface(name, thing)
            elif inspect.isclass(thing):
                yield from self._of_class(name, thing)
            elif inspect.isfunction(thing):
                yield from self._of_function(name, thing, _text(thing))

    def _of_interface(self, name: str, interface: InterfaceClass) -> Iterator[str]:
        for attribute, declared in interface.namesAndDescriptions(all=True):
            where, text = f"{name}.{attribute}", declared.__doc__ or ""
            if not text:
                yield f"{where} has no text"
            for parameter in declared.positional if isinstance(declared, Method) else ():
                if not _has(f"{_text(interface)} {text}", parameter):
                    yield f"{where}: parameter {parameter}"

    def _of_class(self, name: str, kind: type[Any]) -> Iterator[str]:
        bases = [each for each in kind.__mro__ if each.__module__.startswith("bbs.")]
        interfaces = [each for each in implementedBy(kind).flattened() if each is not Interface]
        own = " ".join(map(_text, (*bases, *interfaces)))
        if not _text(kind):
            yield f"{name} has no text"
        makers = [vars(base)[maker] for base in bases for maker in MAKERS if maker in vars(base)]
        if makers and not issubclass(kind, Enum):
            yield from self._of_signature(name, kind, own)
            for maker in makers:
                yield from self._of_errors(name, maker, own)
        for attribute in sorted({each for base in bases for each in vars(base)}):
            member = inspect.getattr_static(kind, attribute)
            function = _function(member)
            # The name of a test is a sentence.
            if function is None or attribute.startswith(("_", "test_")):
                continue
            declared = [each.get(attribute) for each in interfaces if attribute in each]
            text = " ".join((_text(getattr(kind, attribute)), *map(_text, declared))).strip()
            if isinstance(member, property):
                if not text:
                    yield f"{name}.{attribute} has no text"
                yield from self._of_errors(f"{name}.{attribute}", function, f"{text} {own}")
            else:
                yield from self._of_function(f"{name}.{attribute}", function, text, own)

    def _of_function(
        self, name: str, function: Callable[..., Any], text: str, around: str = ""
    ) -> Iterator[str]:
        if not text:
            yield f"{name} has no text"
        yield from self._of_signature(name, function, f"{text} {around}")
        yield from self._of_errors(name, function, f"{text} {around}")

    def _of_signature(self, name: str, thing: Callable[..., Any], text: str) -> Iterator[str]:
        for parameter in inspect.signature(thing).parameters.values():
            if parameter.name.startswith("_") or parameter.name in ("self", "cls"):
                continue
            if not _has(text, parameter.name):
                yield f"{name}: parameter {parameter.name}"
            elif str(parameter.annotation).startswith("float") and not UNIT.search(text):
                yield f"{name}: unit of {parameter.name}"

    def _of_errors(self, name: str, function: Callable[..., Any], text: str) -> Iterator[str]:
        for error in _raised(function) & self._errors:
            if not _has(text, error):
                yield f"{name}: error {error}"


def _text(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def _has(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _function(member: object) -> Callable[..., Any] | None:
    """The function of a method or property. A field's default may be a `lambda`."""
    found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return found if inspect.isfunction(found) and found.__name__ != "<lambda>" else None


@cache
def _raised(function: Callable[..., Any]) -> frozenset[str]:
    """The errors that the lines of a function raise, or let a Deferred fail with."""
    try:
        nodes = [*ast.walk(ast.parse(dedent(inspect.getsource(function))))]
    except OSError:  # A dataclass has made it.
        return frozenset()
    raised = [each.exc for each in nodes if isinstance(each, ast.Raise)]
    calls = [each for each in nodes if isinstance(each, ast.Call)]
    raised += [each.args[0] for each in calls if ast.unparse(each.func) == "fail" and each.args]
    made = [each.func for each in raised if isinstance(each, ast.Call)]
    names = {each.id for each in made if isinstance(each, ast.Name)}
    return frozenset(names - {"NotImplementedError"})


class Sample:
    """A class for `colour`."""

    def __init__(self, colour: str, delay: float) -> None:
        if not colour:
            raise ValueError(delay)

    def paint(self, colour: str, times: int) -> None:
        """Paint it in that."""
        raise Refusal(times)

    def wait(self, pause: float) -> None:
        """Let `pause` pass."""

    def silent(self) -> None: ...


# Its attributes are looked at as if it were of the package.
Sample.__module__ = "bbs.sample"


class TheReference(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "path", [*sys.path])  # The configuration of Sphinx adds its folder.

    def test_it_names_everything(self) -> None:
        public = public_names()
        self.assertIn("bbs.framework.Service", public)
        self.assertEqual(sorted(Reference(public).gaps()), [])

    def test_what_is_found(self) -> None:
        found = Reference({"Sample": Sample, "Refusal": Refusal}).gaps()
        expected = [
            "Sample.paint: error Refusal",
            "Sample.paint: parameter times",
            "Sample.silent has no text",
            "Sample.wait: unit of pause",
            "Sample: error ValueError",
            "Sample: parameter delay",
        ]
        self.assertEqual(sorted(found), expected)
