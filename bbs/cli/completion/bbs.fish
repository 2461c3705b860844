# Completion of the bbs command for fish. It belongs in share/fish/vendor_completions.d, or in
# ~/.config/fish/completions.

set -l parts up client fleet db config
set -l actions list launch drain

complete -c bbs -f
complete -c bbs -s h -l help -d 'show the usage'
complete -c bbs -l version -d 'show the version'

complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a up -d 'run the whole service here'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a client -d 'talk to a service'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a fleet -d 'show the app servers, launch one, drain one'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a db -d 'upgrade the schema, or show its version'
complete -c bbs -n "not __fish_seen_subcommand_from $parts" -a config -d 'check a configuration file'

complete -c bbs -n '__fish_seen_subcommand_from up' -l host -x -a '(__fish_print_hostnames)' -d 'address to listen on'
complete -c bbs -n '__fish_seen_subcommand_from up' -l port -x -d port

complete -c bbs -n '__fish_seen_subcommand_from client' -a '(__fish_print_hostnames)'
complete -c bbs -n '__fish_seen_subcommand_from client' -l json -d 'for programs'
complete -c bbs -n '__fish_seen_subcommand_from client' -l no-times -d 'show no times, at a terminal'
complete -c bbs -n '__fish_seen_subcommand_from client' -l password-file -r -F -d 'has the password of who logs in without typing one'

complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a list -d 'what runs, and who is where'
complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a launch -d 'start one more'
complete -c bbs -n "__fish_seen_subcommand_from fleet; and not __fish_seen_subcommand_from $actions" -a drain -d 'move everybody off one, and end it'
complete -c bbs -n "__fish_seen_subcommand_from $actions" -l json -d 'for programs'

complete -c bbs -n '__fish_seen_subcommand_from db; and not __fish_seen_subcommand_from upgrade status' -a 'upgrade status'
complete -c bbs -n "__fish_seen_subcommand_from up db $actions" -l config -r -F -d 'configuration file (TOML)'
complete -c bbs -n "__fish_seen_subcommand_from up db $actions" -l data -x -a '(__fish_complete_directories)' -d 'folder of a bbs up'

complete -c bbs -n '__fish_seen_subcommand_from config; and not __fish_seen_subcommand_from check keys' -a 'check keys'
complete -c bbs -n '__fish_seen_subcommand_from config; and __fish_seen_subcommand_from check' -F
