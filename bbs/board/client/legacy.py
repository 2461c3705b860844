"""The board's commands on servers up to version 0.3.0, which send no presentation.

This is history and never changes: later servers send their own.
"""

from __future__ import annotations

from bbs.framework import Command, Legacy, Role

LEGACY = Legacy(
    first=(
        Command("invite <user> <id>", Role.APP),
        Command("list-invite <user>", Role.APP, harmless=True),
        Command("accept-invite <user> <id>", Role.APP),
        Command("list-friend <user>", Role.APP, harmless=True),
        Command("post <user> <message>", Role.APP, rest=True),
        Command("receive-post <user>", Role.APP, harmless=True),
        Command("send <user> <friend> <message>", Role.APP, rest=True),
        Command("create-group <user> <group>", Role.APP),
        Command("list-group <user>", Role.APP, harmless=True),
        Command("list-joined <user>", Role.APP, harmless=True),
        Command("join-group <user> <group>", Role.APP),
        Command("send-group <user> <group> <message>", Role.APP, rest=True),
    ),
    later=(
        Command("history <user> <name>", Role.APP, harmless=True),
        Command("history-group <user> <group>", Role.APP, harmless=True, listed=False),
        Command("who <user>", Role.APP, harmless=True),
        Command("unfriend <user> <friend>", Role.APP),
        Command("decline-invite <user> <id>", Role.APP),
        Command("block <user> <id>", Role.APP),
        Command("unblock <user> <id>", Role.APP),
        Command("list-block <user>", Role.APP, harmless=True),
        Command("leave-group <user> <group>", Role.APP),
        Command("list-member <user> <group>", Role.APP, harmless=True),
    ),
)
