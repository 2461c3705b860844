"""Names the servers for twistd, and imports nothing else: every twistd reads this."""

from twisted.application.service import ServiceMaker

login = ServiceMaker(
    "NAME-login",
    "NAME.daemons.login",
    "A login server of NAME",
    "NAME-login",
)
app = ServiceMaker(
    "NAME-app",
    "NAME.daemons.app",
    "An app server of NAME",
    "NAME-app",
)
fleet = ServiceMaker(
    "NAME-fleet",
    "NAME.daemons.fleet",
    "The fleet of NAME, in a process of its own",
    "NAME-fleet",
)
telnet = ServiceMaker(
    "NAME-telnet",
    "NAME.daemons.telnet",
    "NAME by telnet",
    "NAME-telnet",
)
