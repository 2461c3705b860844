"""Accepts every invitation, and greets whoever sent it: python greeter.py HOST PORT NAME FILE

FILE has the password of NAME, who is registered already. The words go over `bbs client --json`.
"""

import json
import subprocess
import sys
from collections import deque

host, port, name, password = sys.argv[1:]
client = subprocess.Popen(
    ["bbs", "client", "--json", "--password-file", password, host, port],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
asked: deque[tuple[str, ...]] = deque()  # what has no answer yet: answers come in this order


def ask(*words: str) -> None:
    print(*words, file=client.stdin, flush=True)
    asked.append(words)


ask("events")  # else nobody tells of an invitation
ask("login", name)
ask("list-invite", name)  # those that came before
for line in client.stdout or ():
    told = json.loads(line)
    command = asked.popleft() if "status" in told else ()
    if told.get("event") == "logout" or (command[:1] == ("login",) and told["status"] == 1):
        sys.exit(f"greeter: {told.get('message', 'logged out')}")
    invited = [told["from"]] if told.get("event") == "invite" else told.get("invite", [])
    for each in invited:
        ask("accept-invite", name, each)
    if told.get("status") == 0 and command[0] == "accept-invite":
        print(f"{command[2]} is a friend now", flush=True)
        ask("send", name, command[2], f"Hello {command[2]}! I am a program, and say no more.")
sys.exit(client.wait())
