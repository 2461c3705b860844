"""A password from a file (`--password-file`), for `login NAME` and `register NAME` without one."""

from __future__ import annotations

import os
import stat

_MOST = 64 * 1024


class PasswordFileError(Exception):
    """The file cannot be used; the text is one line that says why."""


def read_password(path: str) -> str:
    """The first line of a file that its owner alone may read, as ssh wants it of its keys.

    A pipe (`/dev/fd/…`) has no such rule: nobody else can open it. Raises `PasswordFileError`.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PasswordFileError(f"{path}: others may read it; chmod 600 {path}")
            content = file.read(_MOST)
    except OSError as problem:
        raise PasswordFileError(f"{path}: {problem.strerror}") from problem
    try:
        password = content.decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise PasswordFileError(f"{path}: not UTF-8") from None
    if not password or " " in password:
        raise PasswordFileError(f"{path}: a password is one word, in the first line")
    return password
