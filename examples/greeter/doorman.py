"""Tells friends who write to it which others are here: python doorman.py HOST PORT NAME FILE

FILE has the password of NAME. `bbs stubs > bbs_client.py` writes the client, with its types.
"""

import sys
from pathlib import Path

from bbs_client import BbsClient
from twisted.internet.defer import DeferredQueue
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from bbs.client import Address, ChatMessage


async def main(reactor: IReactorTime, host: str, port: str, name: str, password: str) -> None:
    client = BbsClient(reactor, Address(host, int(port)))
    messages: DeferredQueue[ChatMessage] = DeferredQueue()
    await client.login(name, Path(password).read_text().strip())
    await client.listen(name, lambda user, message: messages.put(message))
    while True:
        message = await messages.get()
        friends = (await client.who(name)).friend
        here = [each.id for each in friends if each.online and each.id != message.sender]
        await client.mail(name, message.sender, f"Here: {', '.join(here) or 'nobody else'}")


react(main, sys.argv[1:])
