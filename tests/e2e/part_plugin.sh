# Plug-ins go through the same admission and conformance as in-tree components.
good=$1/tests/plugin/hardshrink.so broken=$1/tests/plugin/broken.so
expect 0 "check of a plug-in" "$saemark" check "$good"
expect 1 "check of a broken plug-in" "$saemark" check "$broken"
grep -q C4 "$tmp/out" && grep -q C9 "$tmp/out" && ok || bad "the broken clauses are not named: $(cat "$tmp/out")"
expect 0 "run with a plug-in" "$saemark" run recovery --plugin "$good" --set steps=30 --set batch=128 \
    --set eval_rows=512 --set seeds=0 --set saes=hardshrink:n=64 --out "$tmp/plug" --no-report
grep -q '^"*hardshrink:' "$tmp/plug/metrics.csv" && ok || bad "no rows of the plug-in's variant"
one_error "not a plug-in" "metrics.csv: not a" "$saemark" check "$tmp/plug/metrics.csv"
one_error "absent plug-in" "none.so" "$saemark" list variants --plugin "$tmp/none.so"
