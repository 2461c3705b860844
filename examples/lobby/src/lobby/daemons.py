"""What twistd and the command `lobby` run."""

from bbs.framework import app_server, command_line, login_server, telnet_gateway
from lobby import lobby

login, app, telnet = login_server(lobby), app_server(lobby), telnet_gateway(lobby)
main = command_line(lobby)
