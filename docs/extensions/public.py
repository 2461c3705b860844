"""What Sphinx has to be told about this project's code.

- A name is documented where it is public, and defined elsewhere: references to the second lead to
  the first.
- A public module may load its names when they are first used; autodoc sees only what is there.
- In docstrings, what is indented behind a blank line is code.
- `.. interfaces:: MODULE` documents the interfaces among a module's public names. They are no
  classes once they are made, and have lost their annotations, so their source is read.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from peewee import BackrefAccessor, DoesNotExist
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.util.docutils import SphinxDirective
from twisted.logger import Logger
from zope.interface.interface import InterfaceClass


def public(module_name: str) -> Iterator[tuple[str, Any]]:
    """The public names of a module, and what they stand for."""
    module = import_module(module_name)
    for name in module.__all__:
        yield name, getattr(module, name)


def load_public_names(app: Sphinx) -> None:
    """Have every public name in its module, and know where each is public."""
    app.public_names = {}
    for module_name in app.config.public_modules:
        if find_spec(module_name) is None:
            continue
        for name, thing in public(module_name):
            vars(import_module(module_name)).setdefault(name, thing)
            # It may be public by another name than the one that it has where it is defined.
            own = getattr(thing, "__qualname__", name)
            home = f"{getattr(thing, '__module__', module_name)}.{own}"
            app.public_names.setdefault(home, f"{module_name}.{name}")


def find_public_name(
    app: Sphinx, env: Any, node: nodes.Element, content: nodes.TextElement
) -> nodes.Element | None:
    """Resolve a reference to where a name is defined by the page where it is public."""
    target = app.public_names.get(node.get("reftarget"))
    if node.get("refdomain") != "py" or target is None:
        return None
    domain = env.get_domain("py")
    assert isinstance(domain, PythonDomain)
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)


def mark_code(
    app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Put a `::` before what is indented behind a blank line."""
    marked: list[str] = []
    in_list = False
    for number, line in enumerate(lines):
        begins = line.startswith("    ") and number > 1 and not lines[number - 1]
        if begins and not in_list and not marked[-2].startswith(" "):
            marked += ["::", ""]
        if line and not line.startswith(" "):
            in_list = line.startswith(("- ", ":"))
        marked.append(line)
    lines[:] = marked


def skip(app: Sphinx, kind: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what is not for readers: a class's log, what peewee adds to a model, and
    interfaces, which `.. interfaces::` documents."""
    if isinstance(thing, InterfaceClass | Logger | BackrefAccessor):
        return True
    return True if isinstance(thing, type) and issubclass(thing, DoesNotExist) else None


class Interfaces(SphinxDirective):
    """The interfaces among the public names of a module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (module_name,) = self.arguments
        lines = [f".. py:currentmodule:: {module_name}", ""]
        for name, thing in public(module_name):
            if isinstance(thing, InterfaceClass):
                lines += described(thing, name)
        where = self.env.doc2path(self.env.docname)
        return self.parse_text_to_nodes(StringList(lines, where))


def described(interface: InterfaceClass, name: str) -> list[str]:
    """An interface as reStructuredText."""
    source = inspect.getsource(sys.modules[interface.__module__])
    (found,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name == interface.__name__
    )
    lines = [f".. py:class:: {name}", "", *indented(ast.get_docstring(found))]
    for node in found.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            head = f".. py:method:: {node.name}({ast.unparse(node.args)}){returns}"
            text = ast.get_docstring(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            head = f".. py:attribute:: {ast.unparse(node.target)}"
            text = ast.literal_eval(node.value.args[0])
            lines += ["   " + head, f"      :type: {ast.unparse(node.annotation)}", ""]
            lines += ["   " + line for line in indented(text)]
            continue
        else:
            continue
        lines += ["   " + head, "", *("   " + line for line in indented(text))]
    return lines


def indented(text: str | None) -> list[str]:
    """A docstring within a directive."""
    return ["   " + line for line in inspect.cleandoc(text or "").splitlines()] + [""]


def setup(app: Sphinx) -> dict[str, Any]:
    # Sphinx writes in a signature what it does not know as its `repr`.
    InterfaceClass.__repr__ = lambda self: f"{self.__module__}.{self.__name__}"
    app.add_config_value("public_modules", [], "env", list)
    app.add_directive("interfaces", Interfaces)
    app.connect("builder-inited", load_public_names)
    app.connect("missing-reference", find_public_name)
    app.connect("autodoc-process-docstring", mark_code)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
