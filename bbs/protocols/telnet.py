"""Takes telnet's own talk out of a byte stream, so that people can reach a line server with it.

A telnet client says what it can do with sequences that begin with IAC (0xFF, RFC 854). The server
negotiates nothing, so it only has to know where each sequence ends.
"""

IAC = 0xFF
_DONT, _DO, _WONT, _WILL = 0xFE, 0xFD, 0xFC, 0xFB
_SUBNEGOTIATION, _SUBNEGOTIATION_END = 0xFA, 0xF0
_LOWEST_COMMAND = 0xEC  # RFC 1184 has the lowest, end of file

_NEGOTIATING = frozenset((_DONT, _DO, _WONT, _WILL))


class TelnetFilter:
    """Strips the telnet sequences of one connection, wherever its byte stream is cut.

    Holds no bytes back but an IAC whose meaning the next byte decides: a subnegotiation without
    an end costs no memory.
    """

    __slots__ = ("_after_iac", "_in_subnegotiation", "_option_due")

    def __init__(self) -> None:
        self._after_iac = False
        self._option_due = False
        self._in_subnegotiation = False

    def strip(self, data: bytes) -> bytes:
        """Return what `data`, the next bytes of the stream, has besides telnet sequences.

        IAC IAC is the literal byte 0xFF. An IAC before a byte that is no telnet command begins no
        sequence: both bytes stay, as the text that they are.
        """
        text = bytearray()
        position = 0
        while position < len(data):
            if self._option_due:
                self._option_due = False
                position += 1
            elif self._after_iac:
                self._after_iac = False
                self._command(data[position], text)
                position += 1
            else:
                found = data.find(IAC, position)
                end = len(data) if found < 0 else found
                if not self._in_subnegotiation:
                    text += data[position:end]
                self._after_iac = found >= 0
                position = end + 1
        return bytes(text)

    def _command(self, command: int, text: bytearray) -> None:
        if self._in_subnegotiation:
            self._in_subnegotiation = command != _SUBNEGOTIATION_END
        elif command in _NEGOTIATING:
            self._option_due = True
        elif command == _SUBNEGOTIATION:
            self._in_subnegotiation = True
        elif command == IAC:
            text.append(IAC)
        elif command < _LOWEST_COMMAND:
            text += bytes((IAC, command))
