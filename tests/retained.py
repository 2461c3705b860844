"""How much text and how many bytes an object retains, wherever in it they are."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

_CODE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)
"""What an object does. It is not looked into, so what callbacks refer to is not counted."""


def retained(*objects: object) -> int:
    """The bytes, and the characters of text, that can be reached from `objects`.

    Tests of a bound compare this before and after: names of attributes are text too.
    """
    seen: set[int] = set()
    left: list[object] = [*objects]
    size = 0
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, _CODE):
            continue
        seen.add(id(each))
        if isinstance(each, str | bytes | bytearray):
            size += len(each)
        else:
            left += gc.get_referents(each)
    return size
