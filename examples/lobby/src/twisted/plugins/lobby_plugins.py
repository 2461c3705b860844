"""Names the lobby's servers for twistd, and imports nothing else: every twistd here reads this."""

from twisted.application.service import ServiceMaker

login = ServiceMaker("lobby-login", "lobby.daemons.login", "A lobby's login server", "lobby-login")
app = ServiceMaker("lobby-app", "lobby.daemons.app", "An app server of a lobby", "lobby-app")
telnet = ServiceMaker("lobby-telnet", "lobby.daemons.telnet", "A lobby by telnet", "lobby-telnet")
