"""What somebody reads instead of typing: a list that is longer than the window, or a conversation
from before. The line that they type is put aside meanwhile, and what comes is shown afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from prompt_toolkit.formatted_text import fragment_list_to_text, split_lines
from twisted.internet.defer import Deferred, succeed

from bbs.ui.terminal import looks
from bbs.ui.terminal.above import Above
from bbs.ui.terminal.interfaces import Fragments, IEditor, More, Size
from bbs.ui.terminal.pager import Failed
from bbs.ui.terminal.rows import rows
from bbs.ui.terminal.view import Draw, Part, View


class Shows(Protocol):
    """A pager of somebody's (`bbs.ui.terminal.pager.Pager`)."""

    command: str

    def show(self, text: str) -> Deferred[None]: ...

    def end(self) -> None: ...


class Aside:
    """`editor` shows it, and `above` waits meanwhile. `pager` is somebody's own; None for the one
    that is built in."""

    def __init__(self, editor: IEditor, above: Above, pager: Shows | None) -> None:
        self._editor = editor
        self._above = above
        self._pager = pager
        self._waiting: deque[Callable[[], Deferred[None]]] = deque()
        self._finished: Deferred[None] | None = None

    @property
    def waits(self) -> bool:
        """Whether there is something to read."""
        return bool(self._waiting)

    def takes(self, lines: Fragments) -> bool:
        """Whether lines are more than the window has; they are the next to be read, then."""
        size = self._editor.size()
        if size is None or not _are_more(split_lines(lines), size):
            return False
        self._add(lambda: Deferred.fromCoroutine(self._page(lines)))
        return True

    def look_back(
        self, title: str, first: Part, fetch: Callable[[str | None], Deferred[Part]], draw: Draw
    ) -> None:
        """Have a `View` of a conversation be read in next, where there is a window for it."""

        async def look() -> None:
            size = self._editor.size()
            if size is None:
                return
            view = View(title, first, fetch, draw, size.columns, max(1, size.rows - 1))
            view.page(-1)  # The end is on the screen already.
            try:
                await self._editor.look_back(view)
            finally:
                view.close()

        self._add(lambda: Deferred.fromCoroutine(look()))

    async def read(self) -> None:
        """Have the next be read, until it is left."""
        self._above.flush()
        self._above.hold()
        try:
            await self._waiting[0]()
        except Exception:
            self._left()
            raise
        self._left()

    def finished(self) -> Deferred[None]:
        """Fires when there is nothing to read any more."""
        if not self._waiting:
            return succeed(None)
        if self._finished is None:
            self._finished = Deferred()
        return self._finished

    def end(self) -> None:
        """End a pager of somebody's, if there is one now."""
        if self._pager is not None:
            self._pager.end()

    def _left(self) -> None:
        self._waiting.popleft()
        if not self._waiting:
            self._above.let_go()
            finished, self._finished = self._finished, None
            if finished is not None:
                finished.callback(None)

    def _add(self, what: Callable[[], Deferred[None]]) -> None:
        self._waiting.append(what)

    async def _page(self, lines: Fragments) -> None:
        if self._pager is not None:
            try:
                with self._editor.lent():
                    await self._pager.show(f"{fragment_list_to_text(list(lines))}\n")
                return
            except Failed as problem:
                said = f"PAGER {self._pager.command}: {problem}. Lists are shown without it."
                self._editor.print([looks.problem(said)])
                self._pager = None
        await self._page_by_screens([*split_lines(lines)])

    async def _page_by_screens(self, lines: Sequence[Fragments]) -> None:
        shown, total, more = 0, len(lines), More.SCREEN
        while more is not More.LEAVE:
            size = self._editor.size() or Size(80, 24)
            room = size.rows - 1 if more is More.SCREEN else 1
            begin = shown
            while shown < total and (shown == begin or rows(lines[shown], size) <= room):
                room -= rows(lines[shown], size)
                shown += 1
            self._editor.print(lines[begin:shown])
            if shown == total:
                return
            more = await self._editor.more(f"-- more: {shown} of {total} --")


def _are_more(lines: Iterable[Fragments], size: Size) -> bool:
    """Whether they and the prompt are more than a window of such a size has."""
    room = size.rows
    for line in lines:
        room -= rows(line, size)
        if room <= 0:
            return True
    return False
