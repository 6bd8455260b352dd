# bash completion for saemark; options come from the program's own help, so they cannot go stale.
_saemark()
{
    local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]} prog=${COMP_WORDS[0]} words=
    COMPREPLY=()
    local commands='/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
    if [ "$COMP_CWORD" -eq 1 ]; then
        words=$("$prog" --help 2>/dev/null | sed -n "$commands")
    elif [[ $cmd == @(lm|track) ]] && [ "$COMP_CWORD" -eq 2 ]; then
        words=$("$prog" "$cmd" --help 2>/dev/null | sed -n "$commands")
    elif [[ $cmd == @(lm|track) ]] && [[ $cur == -* ]]; then
        words=$("$prog" "$cmd" "${COMP_WORDS[2]}" --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p')
    elif [[ $cur == -* ]]; then
        words=$("$prog" "$cmd" --help 2>/dev/null | sed -n 's/^  \(--[a-z_-]*\).*/\1/p')
    elif [ "$cmd" = list ] && [ "$COMP_CWORD" -eq 2 ]; then
        words="variants metrics datasets backends plans"
    elif [ "$cmd" = list ] && [ "$COMP_CWORD" -eq 3 ]; then
        words=$("$prog" list "${COMP_WORDS[2]}" 2>/dev/null | sed -n 's/^\([a-z_0-9]*\) .*/\1/p')
    elif [ "$cmd" = run ] && [ "$COMP_CWORD" -eq 2 ]; then
        words=$("$prog" list plans 2>/dev/null | sed 's/ .*//')
    fi
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
    [ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -o filenames -F _saemark saemark
