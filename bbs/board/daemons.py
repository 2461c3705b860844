"""The board's daemons, which the plugin file for `twistd` names."""

from __future__ import annotations

from bbs.board import board
from bbs.framework import app_server, fleet_controller, login_server, telnet_gateway

login = login_server(board)
fleet = fleet_controller(board)
app = app_server(board)
telnet = telnet_gateway(board)
