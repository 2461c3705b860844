"""The README's picture, `bbs client` in tmux as an SVG: `python -m tests.screens.picture`.

From the project's folder; it goes to `docs/screens/terminal.svg`. Text and colours are the screen's
own. Ports are written as in the other captures.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from wcwidth import wcswidth

from tests.screens.terminal import COLUMNS, SCREENS, Stage, Window

PICTURE = "terminal.svg"
CELL_WIDTH, CELL_HEIGHT, MARGIN, BAR = 8.4, 19, 14, 26
BACKGROUND, FOREGROUND = "#1e2127", "#d4d7dd"
BASIC = (
    "#1e2127",
    "#e06c75",
    "#98c379",
    "#d19a66",
    "#61afef",
    "#c678dd",
    "#56b6c2",
    "#abb2bf",
    "#5c6370",
    "#e06c75",
    "#98c379",
    "#e5c07b",
    "#61afef",
    "#c678dd",
    "#56b6c2",
    "#ffffff",
)
"""The 16 colours that each terminal chooses for itself; all others are fixed."""

_LEVELS = (0, 95, 135, 175, 215, 255)
_SEQUENCE = re.compile(r"\x1b\[([\d;]*)m|\x1b\([0B]|[\x0e\x0f]")


@dataclass(frozen=True)
class Pen:
    """How a piece of text is drawn; an empty colour is the usual one."""

    colour: str = ""
    ground: str = ""
    bold: bool = False
    italic: bool = False
    underlined: bool = False
    reversed: bool = False


def fixed_colour(number: int) -> str:
    """One of xterm's 256 colours."""
    if number < 16:
        return BASIC[number]
    if number < 232:
        red, green, blue = (_LEVELS[(number - 16) // each % 6] for each in (36, 6, 1))
        return f"#{red:02x}{green:02x}{blue:02x}"
    return f"#{8 + 10 * (number - 232):02x}" + f"{8 + 10 * (number - 232):02x}" * 2


def changed(pen: Pen, codes: list[int]) -> Pen:
    """The pen after the codes of one sequence."""
    while codes:
        match codes.pop(0):
            case 0:
                pen = Pen()
            case 1:
                pen = replace(pen, bold=True)
            case 3:
                pen = replace(pen, italic=True)
            case 4:
                pen = replace(pen, underlined=True)
            case 7:
                pen = replace(pen, reversed=True)
            case 38 | 48 as which:
                kind = codes.pop(0)
                if kind == 5:
                    colour = fixed_colour(codes.pop(0))
                else:
                    colour = "#" + "".join(f"{codes.pop(0):02x}" for _ in range(3))
                pen = replace(pen, colour=colour) if which == 38 else replace(pen, ground=colour)
            case 39:
                pen = replace(pen, colour="")
            case 49:
                pen = replace(pen, ground="")
            case code if 30 <= code < 38 or 90 <= code < 98:
                pen = replace(pen, colour=BASIC[code - 30 if code < 38 else code - 82])
            case code if 40 <= code < 48 or 100 <= code < 108:
                pen = replace(pen, ground=BASIC[code - 40 if code < 48 else code - 92])
    return pen


def pieces(line: str, pen: Pen) -> Iterator[tuple[Pen, str]]:
    """The text of a line in pieces, each with its pen; the last one goes on in the next line."""
    begin = 0
    for found in _SEQUENCE.finditer(line):
        yield pen, line[begin : found.start()]
        begin = found.end()
        if found[1] is not None:
            pen = changed(pen, [int(code or 0) for code in found[1].split(";")])
    yield pen, line[begin:]


def drawn(pen: Pen, text: str, column: int, row: int) -> Iterator[str]:
    """One piece of text, and what is behind it."""
    colour, ground = pen.colour or FOREGROUND, pen.ground
    if pen.reversed:
        colour, ground = ground or BACKGROUND, pen.colour or FOREGROUND
    x, y = MARGIN + column * CELL_WIDTH, BAR + MARGIN + row * CELL_HEIGHT
    width = wcswidth(text) * CELL_WIDTH
    if ground and text:
        size = f'width="{width:.1f}" height="{CELL_HEIGHT}"'
        yield f'<rect x="{x:.1f}" y="{y}" {size} fill="{ground}" shape-rendering="crispEdges"/>'
    if word := text.strip():
        # Renderers drop blanks at the ends, and all but one within.
        x += wcswidth(text[: text.index(word)]) * CELL_WIDTH
        width, word = wcswidth(word) * CELL_WIDTH, word.replace("  ", "\u00a0 ")
        style = f' fill="{colour}"' if colour != FOREGROUND else ""
        style += ' font-weight="bold"' if pen.bold else ""
        style += ' font-style="italic"' if pen.italic else ""
        style += ' text-decoration="underline"' if pen.underlined else ""
        place = f'x="{x:.1f}" y="{y + 14}" textLength="{width:.1f}"'
        yield f"<text {place}{style}>{escape(word, quote=False)}</text>"


def svg(title: str, lines: Sequence[str]) -> str:
    """The picture of a window with these lines."""
    width = round(2 * MARGIN + COLUMNS * CELL_WIDTH)
    height = BAR + 2 * MARGIN + len(lines) * CELL_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14"'
        f' fill="{FOREGROUND}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
        *(
            f'<circle cx="{20 + 18 * number}" cy="17" r="5.5" fill="{BASIC[8]}"/>'
            for number in range(3)
        ),
        f'<text x="{width / 2:.0f}" y="22" text-anchor="middle">{escape(title)}</text>',
    ]
    pen = Pen()
    for row, line in enumerate(lines):
        column = 0
        for each, text in pieces(line, pen):
            parts += drawn(each, text, column, row)
            column += wcswidth(text)
            pen = each
    return "\n".join([*parts, "</svg>", ""])


def evening(stage: Stage) -> Window:
    """Ann, bob and carol talk; the screen is ann's."""
    ann, bob, carol = (stage.client(name) for name in ("ann", "bob", "carol"))
    for window, name in ((bob, "bob"), (carol, "carol"), (ann, "ann")):
        stage.log_in(window, name, register=True)
    bob.enter("create-group chess", "invite ann")
    ann.shows("bob wants to be your friend")
    ann.press("C-l")
    ann.enter("accept-invite bob", "join-group chess")
    carol.enter("join-group chess", "invite ann")
    ann.shows("carol wants to be your friend")
    ann.enter("accept-invite carol", "who", "talk bob")
    ann.shows("Talking to bob.")
    ann.enter("hello, are you there?")
    bob.shows("hello, are you there?")
    bob.enter("send ann I am, and I was just typing")
    ann.shows("just typing")
    carol.enter("send-group chess ann, it is your move")
    ann.shows("it is your move")
    ann.enter("shall we play? carol waits", "end")
    ann.type("send-group ch")
    ann.shows("send-group <group> <message>")
    return ann


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), environ={"PROMPT_TOOLKIT_COLOR_DEPTH": "DEPTH_8_BIT"})
        try:
            window = evening(stage)
            lines = window.coloured()
        finally:
            stage.end()
    ports = {str(stage.port): "22222"}

    def usual(found: re.Match[str]) -> str:
        return ports.setdefault(found[0], str(22222 + len(ports)))

    lines = [re.sub(r"(?<=127\.0\.0\.1[: ])\d{4,5}", usual, line) for line in lines]
    while lines and not _SEQUENCE.sub("", lines[0]).strip():
        del lines[0]
    (SCREENS / PICTURE).write_text(svg("bbs client", lines))


if __name__ == "__main__":
    main()
