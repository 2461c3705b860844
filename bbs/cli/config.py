"""`bbs config check FILE` says what is wrong, or prints every key, its value and its source;
`bbs config keys` prints every key with its default and what it is for; `bbs config password NAME`
prints the line of an operator for `[web] password_file`; `bbs config reveal FILE FOLDER` writes the
URLs of database and broker, and the certificates, that refer to secrets into a file each."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Iterator, Sequence

from bbs.cli import Program
from bbs.config import ConfigError, Configuration, described, load, masked, read
from bbs.ui.output import visible

USAGE = (
    "usage: {0} config check FILE\n       {0} config keys\n       {0} config password NAME\n"
    "       {0} config reveal FILE FOLDER"
)


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs config`; returns the exit code."""
    try:
        match list(argv):
            case [*_, "--help" | "-h"]:
                print(USAGE.format(program.name))
            case [*_, "--version"]:
                print(program.version)
            case ["check", path] if not path.startswith("-"):
                return _check(path, program)
            case ["keys"]:
                print(described(load(None, {}, settings=program.settings)))
            case ["password", name] if not name.startswith("-"):
                return _password(name, program)
            case ["reveal", path, folder] if not path.startswith("-"):
                return _reveal(path, folder, program)
            case _:
                print(USAGE.format(program.name), file=sys.stderr)
                return 2
    except ConfigError as error:
        for problem in error.problems:
            print(visible(problem), file=sys.stderr)
        return 1
    return 0


def _password(name: str, program: Program) -> int:
    """Print the line of an operator, whose password comes from the terminal or standard input."""
    from bbs.limits.password_hashing import OWASP

    if not name.isprintable() or ":" in name or name.startswith("#") or name != name.strip():
        return program.fail("config", f"{name!r} cannot be the name of an operator")
    is_typed = sys.stdin.isatty()
    password = getpass.getpass() if is_typed else sys.stdin.readline().rstrip("\r\n")
    if not password:
        return program.fail("config", "a password is needed, in a line of standard input")
    print(f"{name}:{OWASP.hash(password)}")
    return 0


def _reveal(path: str, folder: str, program: Program) -> int:
    """Write what a process that may not ask for secrets itself takes instead.

    `FOLDER/database` and `FOLDER/broker` have the URLs (`database.url_file`, `broker.url_file`),
    for this user alone. `FOLDER/login.pem` has the key and certificates to which `login.listen`
    refers, and so on for other sections; this user's group may read them, as servers do again
    whenever they may be new."""
    from bbs.config import references
    from bbs.scaling.data_folder import write_privately

    config = load(path, os.environ, settings=program.settings)

    def found() -> Iterator[tuple[str, str, int]]:
        for key, urls in (("database", (config.database.url,)), ("broker", config.broker.url)):
            lines = references.reveal(f"{key}.url", urls, config)
            yield key, "".join(f"{line}\n" for line in lines), 0o600
        for section, pems in _pems(config):
            yield f"{section}.pem", pems, 0o640

    for name, text, mode in found():
        place = os.path.join(os.path.abspath(folder), name)
        new = f"{place}.{os.getpid()}"
        try:
            # As a whole: a server may read it meanwhile.
            write_privately(new, text)
            os.chmod(new, mode)
            os.replace(new, place)
        except OSError as error:
            return program.fail("config", f"cannot write {place}: {error.strerror}")
    return 0


def _pems(config: Configuration) -> Iterator[tuple[str, str]]:
    """The sections whose first place to listen by TLS refers to secrets, with all of its PEMs."""
    from bbs.config import references
    from bbs.core.addresses import ListeningPlace
    from bbs.daemons.listening import CannotListen, Pems, read_pems

    known: dict[tuple[str, ...], Pems] = {}
    for section, _, _, value in config.every_key():
        places = value if isinstance(value, tuple) else ()
        for place in places:
            files = place.files if isinstance(place, ListeningPlace) else ()
            if not references.needed(files):
                continue
            if files not in known:
                try:
                    known[files] = read_pems(place, config)
                except CannotListen as problem:
                    raise ConfigError(f"{section}.{problem}") from problem
            yield section, "".join(f"{pem.strip()}\n" for pem in dict.fromkeys(known[files]) if pem)
            break


def _check(path: str, program: Program) -> int:
    # Imported here, as the other action needs none of the servers' modules.
    from bbs.daemons.config_check import notes, problems

    checked = read(path, settings=program.settings)  # with the environment, as for a server
    # A wrong key has its default meanwhile, and the file has no problem that follows from it.
    others = [
        f"{path}: {problem}"
        for problem in problems(checked.config, program.name)
        if not any(key in problem for key in checked.wrong)
    ]
    if found := [*checked.problems, *others]:
        raise ConfigError(*found)
    for note in notes(checked.config, time.time()):
        print(visible(f"{path}: {note}"), file=sys.stderr)
    for key, value, source in masked(checked.config):
        print(f"{key} = {value}  # {source}")
    return 0
