"""The line being typed, shown so that nothing in it moves the cursor by surprise.

A clipboard or the history may hold characters that act on a terminal; they show as escapes, as in
what others write. It is sent as it was typed.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

from bbs.ui.text import visible_in_line


class Harmless(Processor):
    """Shows the line with `visible_in_line`, and keeps the cursor where the text is."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        typed = explode_text_fragments(transformation_input.fragments)
        looks = [visible_in_line(fragment[1]) for fragment in typed]
        if all(len(look) == 1 for look in looks):
            return Transformation(transformation_input.fragments)
        fragments: StyleAndTextTuples = [
            (fragment[0] if len(look) == 1 else f"{fragment[0]} class:escape", look)
            for fragment, look in zip(typed, looks, strict=True)
        ]
        starts = [0, *accumulate(map(len, looks))]

        def to_display(place: int) -> int:
            return starts[min(place, len(looks))] + max(0, place - len(looks))

        def to_source(place: int) -> int:
            return bisect_right(starts, place) - 1 + max(0, place - starts[-1])

        return Transformation(fragments, to_display, to_source)


class Hidden(Processor):
    """Shows nothing, not even how much: a password."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        return Transformation([], lambda place: 0, lambda place: 0)
