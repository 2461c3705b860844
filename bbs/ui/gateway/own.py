"""The gateway's own commands: how a terminal's characters are sent, and how things look there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bbs.ui.gateway import encodings
from bbs.ui.gateway.peer import Peer
from bbs.ui.gateway.screen import Screen
from bbs.ui.talk import OwnCommand, WrongUse


def own_commands(
    peer: Peer, screen: Screen, use: Callable[[encodings.Encoding], None]
) -> Mapping[str, OwnCommand]:
    """Them, by name; `use` is told of another encoding."""

    def encoding(words: Sequence[str]) -> None:
        if len(words) > 1:
            raise WrongUse()
        if words:
            named = encodings.named(words[0])
            if named is None:
                raise WrongUse()
            use(named)
        screen.notice(f"Encoding: {peer.encoding.name}")

    def times(words: Sequence[str]) -> None:
        screen.stamps = _switched(words, screen.stamps)
        screen.notice(f"Times: {'on' if screen.stamps else 'off'}")

    def bell(words: Sequence[str]) -> None:
        screen.rings = _switched(words, screen.rings)
        screen.notice(f"Bell: {'on' if screen.rings else 'off'}")

    commands = (
        OwnCommand("encoding utf-8|big5", "how your terminal's characters are sent", encoding),
        OwnCommand("times [on|off]", "whether each message has its time", times),
        OwnCommand("bell [on|off]", "whether it rings when you are written to, or named", bell),
    )
    return {each.name: each for each in commands}


def _switched(words: Sequence[str], now: bool) -> bool:
    """What words after a command switch to; `now`, where there are none."""
    if not words:
        return now
    if len(words) > 1 or words[0] not in ("on", "off"):
        raise WrongUse()
    return words[0] == "on"
