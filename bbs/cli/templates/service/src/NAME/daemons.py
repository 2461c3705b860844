"""What twistd and the command `NAME` run."""

from bbs.framework import (
    app_server,
    command_line,
    fleet_controller,
    login_server,
    telnet_gateway,
)

from NAME import service

login = login_server(service)
app = app_server(service)
fleet = fleet_controller(service)
telnet = telnet_gateway(service)
main = command_line(service)
