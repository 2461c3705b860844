# Completion of the bbs command for fish. It belongs in share/fish/vendor_completions.d, or in
# ~/.config/fish/completions.

set -l parts up client fleet user announce group post run shell manhole stubs spec backup restore db config new
set -l actions list launch drain replace adopt
set -l deeds list show password suspend resume kick delete
set -l acts list show rename give remove

complete -c bbs -f
complete -c bbs -s h -l help -d 'show the usage'
complete -c bbs -l version -d 'show the version'

complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a up -d 'run the whole service here'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a client -d 'talk to a service'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a fleet -d 'show the app servers, launch one, drain one'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a user -d 'show people, suspend one, give one another password'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a run -d 'run a rule of the service'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a announce -d 'tell everybody something'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a group -d 'show groups, rename one, give it away, remove it'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a post -d 'remove a post'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a run -d 'run a rule of the service'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a shell -d 'a Python prompt with the models and rules of the service'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a manhole -d 'a Python prompt in a running server'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a backup -d 'copy the database of a running service into a file'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a restore -d 'put such a copy in the database\'s place'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a db -d 'upgrade the schema, or show its version'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a config -d 'check a configuration file'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a stubs -d 'print a typed client in Python'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a spec -d 'print a description of commands, replies and events'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a new -d 'begin a package of your own'

complete -c bbs -n '__fish_seen_subcommand_from up' -l host -x -a '(__fish_print_hostnames)' -d 'address to listen on'
complete -c bbs -n '__fish_seen_subcommand_from up' -l port -x -d port
complete -c bbs -n '__fish_seen_subcommand_from up' -l debug -d 'show tracebacks, and take new code as it is saved'
complete -c bbs -n '__fish_seen_subcommand_from run' -l user -x -d 'the user who calls it'
complete -c bbs -n '__fish_seen_subcommand_from shell' -l write -d 'let rules write'

complete -c bbs -n '__fish_seen_subcommand_from client' -a '(__fish_print_hostnames)'
complete -c bbs -n '__fish_seen_subcommand_from client' -l tls -d 'talk by TLS to all its servers'
complete -c bbs -n '__fish_seen_subcommand_from client' -l ca -r -F -d 'certificates that --tls trusts (PEM)'
complete -c bbs -n '__fish_seen_subcommand_from client' -l json -d 'for programs'
complete -c bbs -n '__fish_seen_subcommand_from client' -l no-times -d 'show no times, at a terminal'
complete -c bbs -n '__fish_seen_subcommand_from client' -l strict -d 'end a script with 1 when any command was refused'
complete -c bbs -n '__fish_seen_subcommand_from client' -l password-file -r -F -d 'file with the password for logging in'

complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a list -d 'what runs, and who is where'
complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a launch -d 'start one more'
complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a drain -d 'move everybody off one, and end it'
complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a adopt -d 'make a copied database the original fleet again'
complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a replace -d 'launch new ones in place of those that run'
complete -c bbs -n '__fish_seen_subcommand_from fleet; and __fish_seen_subcommand_from replace' -l outdated -d 'only other versions, N servers at most'
complete -c bbs -n '__fish_seen_subcommand_from fleet; and __fish_seen_subcommand_from replace' -l cancel -d 'let them stay'
complete -c bbs -n '__fish_seen_subcommand_from fleet; and __fish_seen_subcommand_from adopt' -l yes -d 'do not ask'
complete -c bbs -n '__fish_seen_subcommand_from fleet; and __fish_seen_subcommand_from list' -l all -d 'all of them'
complete -c bbs -n '__fish_seen_subcommand_from fleet; and __fish_seen_subcommand_from list' -l state -x -a 'lost draining launching ready warm' -d 'only those in it'
complete -c bbs -n "__fish_seen_subcommand_from announce $actions $deeds $acts" -l json -d 'for programs'

complete -c bbs -n '__fish_seen_subcommand_from announce' -l until -x -d 'when it ends: 2h'
complete -c bbs -n '__fish_seen_subcommand_from announce' -l list -d 'show the announcements'
complete -c bbs -n '__fish_seen_subcommand_from announce' -l remove -x -d 'end an announcement'
complete -c bbs -n "__fish_seen_subcommand_from group; and not __fish_seen_subcommand_from $acts" -a 'list show rename give remove'
complete -c bbs -n '__fish_seen_subcommand_from group; and __fish_seen_subcommand_from remove' -l yes -d 'do not ask'
complete -c bbs -n '__fish_seen_subcommand_from post; and not __fish_seen_subcommand_from remove' -a remove -d 'remove a post'

complete -c bbs -n "__fish_seen_subcommand_from user; and not __fish_seen_subcommand_from $deeds" -a list -d 'who there is'
complete -c bbs -n "__fish_seen_subcommand_from user; and not __fish_seen_subcommand_from $deeds" -a 'show password suspend resume kick delete'
complete -c bbs -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from list' -l online -d 'only people with a session'
complete -c bbs -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from list' -l search -x -d 'part of a name'
complete -c bbs -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from password' -l password-file -r -F -d 'has it'
complete -c bbs -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from suspend' -l for -x -d 'how long: 7d'
complete -c bbs -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from suspend' -l reason -x -d 'why, for operators'
complete -c bbs -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from delete' -l yes -d 'do not ask'

complete -c bbs -n '__fish_seen_subcommand_from backup restore' -F
complete -c bbs -n '__fish_seen_subcommand_from backup restore' -l force -d 'replace what is there'
complete -c bbs -n '__fish_seen_subcommand_from restore' -l keep-sessions -d 'keep the sessions of the backup'

complete -c bbs -n '__fish_seen_subcommand_from db; and not __fish_seen_subcommand_from upgrade status clock' -a 'upgrade status clock'
complete -c bbs -n '__fish_seen_subcommand_from db; and __fish_seen_subcommand_from clock' -a accept
complete -c bbs -n "__fish_seen_subcommand_from up run shell manhole db backup restore announce $actions $deeds $acts" -l config -r -F -d 'configuration file (TOML)'
complete -c bbs -n "__fish_seen_subcommand_from up run shell manhole db backup restore announce $actions $deeds $acts" -l data -x -a '(__fish_complete_directories)' -d 'folder of a bbs up'

complete -c bbs -n '__fish_seen_subcommand_from config; and not __fish_seen_subcommand_from check keys password' -a 'check keys password'
complete -c bbs -n '__fish_seen_subcommand_from config; and __fish_seen_subcommand_from check' -F


complete -c bbs -n '__fish_seen_subcommand_from stubs' -l asyncio -d 'for asyncio'
complete -c bbs -n '__fish_seen_subcommand_from new' -l kind -x -a 'service commands provider' -d 'what it is'
