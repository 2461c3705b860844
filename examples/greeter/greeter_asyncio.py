"""As greeter.py, with asyncio and bbs.client.aio: python greeter_asyncio.py HOST PORT NAME FILE"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from bbs.client import Refused, ServiceEvent, aio


async def main(host: str, port: str, name: str, password: str) -> None:
    async with aio.connect(host, int(port)) as client:

        async def greet(friend: str) -> None:
            with suppress(Refused):  # The invitation was taken back, or the friend has left.
                await client.ask("accept-invite", name, friend)
                print(f"{friend} is a friend now", flush=True)
                await client.ask("send", name, friend, f"Hello {friend}! I am a program.")

        await client.login(name, Path(password).read_text().strip())
        await client.listen(name)  # before it asks for earlier invitations, to miss none
        for friend in (await client.ask("list-invite", name)).names("invite"):
            await greet(friend)
        async for event in client.events(name):
            if isinstance(event, ServiceEvent) and event.members["event"] == "invite":
                await greet(str(event.members["from"]))


asyncio.run(main(*sys.argv[1:]))
