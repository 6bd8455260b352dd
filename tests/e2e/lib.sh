# tests/e2e/lib.sh - helpers of the end-to-end scripts. Sourced with $saemark and $tmp set.
passed=0 failed=0 skipped=0

ok() { passed=$((passed + 1)); }
bad() { # what...
    failed=$((failed + 1))
    echo "FAIL: e2e/$part: $*"
}
skip() {
    skipped=$((skipped + 1))
    echo "SKIP: e2e/$part: $*"
}
# expect STATUS NAME COMMAND...: the exit status; output in $tmp/out and $tmp/err.
expect() {
    want=$1 name=$2
    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err"
    got=$?
    if [ $got -eq "$want" ]; then
        ok
    else
        bad "$name: status $got, expected $want: $(tail -n 2 "$tmp/err" | tr '\n' ' ')"
    fi
}
# one_error NAME PATTERN COMMAND...: exit 2 and exactly one error line that matches.
one_error() {
    name=$1 pattern=$2
    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err"
    got=$?
    lines=$(grep -c '^saemark: error:' "$tmp/err")
    if [ $got -eq 2 ] && [ "$lines" -eq 1 ] && grep -qE -e "$pattern" "$tmp/err"; then
        ok
    else
        bad "$name: status $got, $lines error lines, no match for '$pattern' in: $(cat "$tmp/err")"
    fi
}
same() { # NAME FILE FILE
    if cmp -s "$2" "$3"; then ok; else bad "$1: $2 and $3 differ"; fi
}
holds() { # NAME EXPRESSION-OF-AWK VALUE...: true of the values as $1, $2, ...
    name=$1 expression=$2
    shift 2
    echo "$@" | awk "{ exit !($expression) }" && ok || bad "$name: $expression fails for $*"
}
