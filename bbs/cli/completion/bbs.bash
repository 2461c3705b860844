# Completion of the bbs command for bash. It belongs in
# share/bash-completion/completions/bbs; without bash-completion, source it from ~/.bashrc.

_bbs() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local part=${COMP_WORDS[1]} action=${COMP_WORDS[2]} words=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W 'up client fleet user announce group post run shell manhole stubs spec backup restore db config new --help --version' -- "$word"))
        return
    fi
    case $before in
        --config | --password-file | --ca)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        --data)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return ;;
        --host)
            COMPREPLY=($(compgen -A hostname -- "$word"))
            return ;;
        --port | --outdated | --search | --user | --for | --reason | --until | --remove)
            return ;;
    esac
    case $part in
        up) words='--host --port --debug --data --config --help --version' ;;
        client)
            words='--tls --ca --json --no-times --strict --password-file --help --version'
            if [[ $word != -* ]]; then
                COMPREPLY=($(compgen -A hostname -- "$word"))
                return
            fi ;;
        fleet)
            if ((COMP_CWORD == 2)); then
                words='list launch drain replace adopt --help --version'
            else
                words='--config --data --json --help --version'
                [[ $action == adopt ]] && words="--yes $words"
                [[ $action == replace ]] && words="--outdated --cancel $words"
                [[ $action == list ]] && words="--all --state $words"
            fi ;;
        user)
            if ((COMP_CWORD == 2)); then
                words='list show password suspend resume kick delete --help --version'
            else
                words='--config --data --json --help --version'
                case $action in
                    list) words="--online --search $words" ;;
                    password) words="--password-file $words" ;;
                    suspend) words="--for --reason $words" ;;
                    delete) words="--yes $words" ;;
                esac
            fi ;;
        announce) words='--until --list --remove --config --data --json --help --version' ;;
        group | post)
            if ((COMP_CWORD == 2)); then
                words='list show rename give remove --help --version'
                [[ $part == post ]] && words='remove --help --version'
            else
                words='--config --data --json --help --version'
                [[ $part$action == groupremove ]] && words="--yes $words"
            fi ;;
        run) words='--user --config --data --help --version' ;;
        shell) words='--write --config --data --help --version' ;;
        manhole) words='--config --data --help --version' ;;
        backup | restore)
            words='--force --config --data --help --version'
            [[ $part == restore ]] && words="--keep-sessions $words"
            if [[ $word != -* ]]; then
                compopt -o filenames 2> /dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
            fi ;;
        db)
            words='--config --data --help --version'
            if [[ ${COMP_WORDS[COMP_CWORD-1]} == clock ]]; then
                words="accept $words"
            elif [[ " ${COMP_WORDS[*]:2:COMP_CWORD-2} " != *\ @(upgrade|status|clock)\ * ]]; then
                words="upgrade status clock $words"
            fi ;;
        config)
            if ((COMP_CWORD == 2)); then
                words='check keys password --help --version'
            elif [[ $action == check ]]; then
                compopt -o filenames 2> /dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
            fi ;;
        stubs) words='--asyncio --help --version' ;;
        spec) words='--help --version' ;;
        new)
            words='--kind --help --version'
            [[ $before == --kind ]] && words='service commands provider' ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}

complete -F _bbs bbs
