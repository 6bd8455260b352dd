# Bad input: one line that names file, key, expected and found; exit 2; nothing half-written.
plan() { printf '%s\n' "name: x" "dataset: synthetic:d=16" "steps: 10" "batch: 8" "seeds: [0]" \
    "saes: [{spec: \"topk:k=2,n=32\"}]" "$@" >"$tmp/plan.yaml"; }
run_plan() { "$saemark" run "$tmp/plan.yaml" --out "$tmp/bad" --no-report; }
plan "speed: 9"
one_error "unknown plan key" "plan.yaml: .*line:? ?7.*speed" run_plan
plan "eval_rows: -1"
one_error "value out of range" "line 7: eval_rows: expected 0 to" run_plan
plan "norm: big"
one_error "unknown norm" "line 7: norm: expected one of none" run_plan
plan 'metrics: ["beauty"]'
one_error "unknown metric" "beauty" run_plan
printf 'name: x\n\tdataset: y\n' >"$tmp/plan.yaml"
one_error "not YAML" "plan.yaml: .*line" run_plan
: >"$tmp/plan.yaml"
one_error "empty plan" "plan.yaml" run_plan
one_error "no such plan" "neither a built-in plan" "$saemark" run no-such-plan
one_error "unknown variant" "no variant|unknown variant|nosuch" \
    "$saemark" run quickstart --set saes=nosuch:k=3 --out "$tmp/bad"
one_error "unknown option of a variant" "kk" \
    "$saemark" run quickstart --set saes=topk:kk=3 --out "$tmp/bad"
one_error "option out of range" "k" "$saemark" run quickstart --set saes=topk:k=-3 --out "$tmp/bad"
one_error "dictionary too large for memory" "MiB|GiB" \
    "$saemark" run quickstart --set saes=topk:k=3,n=2000000000 --out "$tmp/bad"
one_error "no such hook or model" "no-model" \
    "$saemark" run lm --set model=no-model --set text=no-text --out "$tmp/bad"
one_error "required variable" "needs --set model" "$saemark" run lm --out "$tmp/bad"
[ -e "$tmp/bad/metrics.csv" ] && bad "a refused plan left files" || ok

: >"$tmp/file"
one_error "unwritable directory" "$tmp/file" \
    "$saemark" run quickstart --set steps=2 --out "$tmp/file/run"

head -c 100 /dev/zero >"$tmp/x.safetensors"
one_error "broken weights" "x.safetensors" \
    "$saemark" eval "$tmp/x.safetensors" --as relu --dataset synthetic:d=16
printf 'abcde' >"$tmp/x.npy"
one_error "broken npy" "x.npy" "$saemark" convert "$tmp/x.npy" --out "$tmp/shards"
one_error "raw width" "multiple of 12|needs --d" "$saemark" convert "$tmp/x.safetensors" --d 3 --out "$tmp/shards"
[ -e "$tmp/shards/manifest.json" ] && bad "a refused conversion left a manifest" || ok

# A full disk: a file-size limit makes every larger write fail as a full disk does.
(ulimit -f 8 && "$saemark" run quickstart --set steps=4 --set batch=64 --set eval_rows=64 \
    --set checkpoint_every=2 --set seeds=0 --set saes=topk:k=2,n=1024 --out "$tmp/full" --no-report) \
    >"$tmp/out" 2>"$tmp/err"
[ $? -eq 2 ] && [ "$(grep -c '^saemark: error:' "$tmp/err")" -eq 1 ] && ok ||
    bad "a full disk says: $(cat "$tmp/err")"
[ -z "$(find "$tmp/full" -name '*.safetensors' 2>/dev/null)" ] && ok || bad "a full disk left weights"
