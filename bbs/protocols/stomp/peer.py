"""One end of a STOMP connection: frames, output that waits, heart-beats, closing."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.protocols.stomp.frames import HEARTBEAT, Frame, FrameCutter, FrameError, encode

# Seconds for the network, in addition to two intervals. ActiveMQ checks once in an interval whether
# it has sent nothing, so its last bytes may lie two whole intervals back.
_GRACE = 1.0


def heartbeat_ms(text: str) -> tuple[int, int]:
    """Read a heart-beat header, ms: what its sender can do, and what it wants. Raises FrameError if
    it is malformed."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise FrameError(f"a heart-beat of {text[:40]!r}")
    # Longer intervals than a day are no use, and too long for some clocks.
    can, wants = (min(int(part[:10]), 86_400_000) for part in parts)
    return can, wants


def heartbeat_intervals(own: tuple[int, int], peer: tuple[int, int]) -> tuple[float, float]:
    """The intervals, s, in which we beat and the peer does, from the two heart-beat headers; 0 is
    never, as one side cannot beat or the other does not want it."""
    send = max(own[0], peer[1]) if own[0] and peer[1] else 0
    expect = max(peer[0], own[1]) if peer[0] and own[1] else 0
    return send / 1000, expect / 1000


@implementer(IPushProducer)
class StompPeer(Protocol):
    """One end of a STOMP connection.

    A subclass gets whole frames (`frame_received`), malformed bytes (`frames_broken`) and the
    end of the peer's heart-beat (`heart_stopped`). While the transport pauses, `held` bytes
    of output wait here; the subclass decides how many are too many.
    """

    def __init__(self, clock: IReactorTime, max_frame: int) -> None:
        self.clock = clock
        self.cutter = FrameCutter(max_frame=max_frame)
        self.held = 0
        self.closing = False
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._beat: LoopingCall | None = None
        self._silence: IDelayedCall | None = None
        self._silence_limit = 0.0
        self._heard = 0.0
        self._abort_later: IDelayedCall | None = None

    # For subclasses to implement

    def frame_received(self, frame: Frame) -> None:
        """Take a whole frame. A FrameError that this raises is passed to `frames_broken`."""
        raise NotImplementedError

    def frames_broken(self, error: FrameError) -> None:
        """Handle malformed bytes; nothing after them can be read."""
        raise NotImplementedError

    def heart_stopped(self) -> None:
        """Handle a peer that was silent for twice the agreed interval and a second."""
        raise NotImplementedError

    # For subclasses to call

    def write_frame(self, frame: Frame) -> None:
        """Write `frame` in the agreed version; raises FrameError if it cannot be expressed."""
        self.write(encode(frame, self.cutter.version))

    def write(self, data: bytes) -> None:
        """Write `data`, which waits here while the transport is full."""
        if self._paused:
            self._waiting.append(data)
            self.held += len(data)
        elif self.transport is not None:
            self.transport.write(data)

    def start_heart(self, send: float, expect: float) -> None:
        """Beat every `send` s, and expect the peer at least every `expect` s, beginning with the
        frame that is being received; 0 is never."""
        if send:
            # Twice as often as agreed, as a timer may be late, and whatever else is written.
            self._beat = LoopingCall(self._send_beat)
            self._beat.clock = self.clock
            self._beat.start(send / 2, now=False)
        if expect:
            self._silence_limit = 2 * expect + _GRACE
            self._silence = self.clock.callLater(self._silence_limit, self._silent)

    def close(self, patience: float) -> None:
        """Send the waiting output, then close, after `patience` s at the latest."""
        if self.closing:
            return
        self.closing = True
        self._stop_heart()
        self._abort_later = self.clock.callLater(patience, self._tcp().abortConnection)
        transport = self._tcp()
        transport.unregisterProducer()
        for data in self._waiting:
            transport.write(data)
        self._forget_output()
        transport.loseConnection()

    def abort(self) -> None:
        """Close at once; nothing more is sent or received."""
        self.closing = True
        self._stop_heart()
        self._forget_output()
        self._tcp().abortConnection()

    # IProtocol

    def connectionMade(self) -> None:
        transport = self._tcp()
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self.closing:
            return
        # The timer is not reset for each segment; it looks at this when it fires.
        self._heard = self.clock.seconds()
        try:
            for frame in self.cutter.feed(data):
                self.frame_received(frame)
                if self.closing:
                    return
        except FrameError as error:
            self.frames_broken(error)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.closing = True
        self._stop_heart()
        self._forget_output()
        if self._abort_later is not None and self._abort_later.active():
            self._abort_later.cancel()

    # IPushProducer: the transport controls output

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        # The transport may be full again after each write, and then pauses at once.
        while self._waiting and not self._paused:
            data = self._waiting.popleft()
            self.held -= len(data)
            self.write(data)

    def stopProducing(self) -> None:
        self._forget_output()

    def _tcp(self) -> Any:
        # An ITCPTransport that is also an IConsumer, which no type says.
        return self.transport

    def _send_beat(self) -> None:
        # A peer that does not read needs no more bytes.
        if not self._paused:
            self.write(HEARTBEAT)

    def _silent(self) -> None:
        left = self._heard + self._silence_limit - self.clock.seconds()
        if left > 0:
            self._silence = self.clock.callLater(left, self._silent)
        else:
            self._silence = None
            self.heart_stopped()

    def _stop_heart(self) -> None:
        if self._beat is not None and self._beat.running:
            self._beat.stop()
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _forget_output(self) -> None:
        self._waiting.clear()
        self.held = 0
