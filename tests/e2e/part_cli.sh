# The command line itself: help, unknown words, machine-readable lists.
expect 0 "--help" "$saemark" --help
for c in run report eval capture lm "lm eval" "lm generate" "lm probe" "lm train" list convert check bench version track "track import" \
    "track commits" "track analyse" "track report" "track alert" "track annotate" "track gate" "track quality" \
    "track calibrate" "track maintain"; do
    # shellcheck disable=SC2086 # words
    expect 0 "$c --help" "$saemark" $c --help
    grep -q "^usage: saemark $c" "$tmp/out" || bad "$c --help has no usage line"
done
expect 2 "no command" "$saemark"
one_error "unknown command" "no command 'fly'" "$saemark" fly
one_error "unknown command of a group" "lm: no command 'fly'" "$saemark" lm fly
one_error "nearly a command" "did you mean 'report'" "$saemark" reprot
one_error "nearly a command of a group" "did you mean 'eval'. .see saemark lm --help" "$saemark" lm evl
one_error "nearly a key of a plan" 'no such key; did you mean "steps"' "$saemark" run quickstart --set step=3
one_error "two letters swapped" 'did you mean "topk"' "$saemark" run quickstart --set saes=tpok:k=8
one_error "a report of no run" "not a run" "$saemark" report "$tmp"
one_error "a file is named once" "error: /no/plugin: cannot open" "$saemark" check /no/plugin
one_error "group without a command" "usage: saemark lm COMMAND" "$saemark" lm
one_error "option of a command in a group" "lm eval: no option --txt; did you mean --text" \
    "$saemark" lm eval model --txt x
one_error "unknown option" "did you mean --resume" "$saemark" run quickstart --resmue
one_error "missing value" "needs DIR" "$saemark" run quickstart --out
one_error "bad number" "--threads many: expected a whole number" "$saemark" run quickstart --threads many
one_error "empty value" "--out needs DIR" "$saemark" run quickstart --out=
one_error "empty argument" "argument 2 is empty" "$saemark" run quickstart ''
one_error "an argument that is not UTF-8" "argument 3: .*UTF-8" \
    "$saemark" run quickstart --out "$(printf '%s/\377' "$tmp")"
one_error "unknown plan in a list" "list plans: there is no owl" "$saemark" list plans owl
one_error "unknown list" "expected variants" "$saemark" list birds
for kind in variants metrics datasets backends plans; do
    expect 0 "list $kind" "$saemark" list $kind --json
    head -c 1 "$tmp/out" | grep -q '\[' || bad "list $kind --json prints no array"
done
expect 0 "the dictionary size is an option" "$saemark" list variants topk
grep -q '^    n  *8d ' "$tmp/out" || bad "list variants does not show n"
expect 0 "version --json" "$saemark" version --json
grep -q '"git"' "$tmp/out" || bad "version --json names no commit"
if [ -c /dev/full ]; then
    "$saemark" list variants >/dev/full 2>"$tmp/err"
    [ $? -eq 1 ] && ok || bad "a full standard output is not reported"
fi
