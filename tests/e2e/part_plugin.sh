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

# A CUDA backend of another version beside the program, where there is a driver: only `version` speaks of it.
mkdir -p "$tmp/stale"
cp "$saemark" "$tmp/stale/saemark"
printf '%s\n' '#include <sae/backend.h>' 'const sae_backend *sae_backend_of_file(void);' \
    'const sae_backend *sae_backend_of_file(void) { static const sae_backend be = {999, sizeof be, "cuda"}; return &be; }' \
    >"$tmp/stale.c"
cc -shared -fPIC -Isuite/include -o "$tmp/stale/libsaemark-cuda.so" "$tmp/stale.c" || bad "compiling a stale backend"
echo 'int nothing;' | cc -shared -fPIC -x c -o "$tmp/stale/libcuda.so.1" - || bad "compiling a driver"
expect 0 "a stale backend" env LD_LIBRARY_PATH="$tmp/stale" "$tmp/stale/saemark" version
grep -q "libsaemark-cuda.so: .*ABI version 999" "$tmp/out" || bad "why it is absent: $(cat "$tmp/out")"
expect 0 "commands without it" env LD_LIBRARY_PATH="$tmp/stale" "$tmp/stale/saemark" list backends
one_error "a stale backend by name" "ABI version 999" env SAEMARK_CUDA="$tmp/stale/libsaemark-cuda.so" "$tmp/stale/saemark" list backends
