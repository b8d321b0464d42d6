"""``selfsup completion``: a script that makes bash and zsh complete commands, choices and settings."""

from selfsup.commands import COMMANDS
from selfsup.commands.help import words

# Readline breaks words at "=", so the part before it is removed from the words on offer.
_SCRIPT = """\
[ -n "${{ZSH_VERSION-}}" ] && autoload -U +X compinit bashcompinit && compinit && bashcompinit
_selfsup() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" word offered command
    word="${{line##* }}"
    command="${{COMP_WORDS[1]}}"
    if [ "$COMP_CWORD" -le 1 ]; then offered="{commands}"; else
        case "$command" in
{cases}
            *) return ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$offered" -- "$word"))
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%=*}}="}}")
    fi
    [ "${{#COMPREPLY[@]}}" -eq 1 ] && [[ "${{COMPREPLY[0]}}" != *= ]] || compopt -o nospace 2>/dev/null
}}
complete -o default -F _selfsup selfsup
"""


def script() -> str:
    """The script, for bash and, through its bashcompinit, zsh."""
    cases = [f'            {name}) offered="{" ".join(offered)}" ;;' for name, offered in words().items()]
    return _SCRIPT.format(commands=" ".join([*COMMANDS, "completion"]), cases="\n".join(cases))
