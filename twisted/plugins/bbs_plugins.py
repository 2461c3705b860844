"""Names the services for `twistd`. Every twistd here reads this, so it imports nothing else."""

from twisted.application.service import ServiceMaker

bbs_login = ServiceMaker(
    "bbs-login",
    "bbs.board.daemons.login",
    "The bbs login server, with the fleet controller.",
    "bbs-login",
)

bbs_fleet = ServiceMaker(
    "bbs-fleet",
    "bbs.board.daemons.fleet",
    "The controller of a bbs fleet, in a process of its own.",
    "bbs-fleet",
)

bbs_app = ServiceMaker("bbs-app", "bbs.board.daemons.app", "A bbs app server.", "bbs-app")

bbs_telnet = ServiceMaker(
    "bbs-telnet", "bbs.board.daemons.telnet", "A telnet gateway to a bbs service.", "bbs-telnet"
)
