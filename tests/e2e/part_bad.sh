# Bad input: one line that names file, key, expected and found; exit 2; nothing half-written.
plan() { printf '%s\n' "name: x" "dataset: synthetic:d=16" "steps: 10" "batch: 8" "seeds: [0]" \
    "saes: [{spec: \"topk:k=2,n=32\"}]" "$@" >"$tmp/plan.yaml"; }
run_plan() { "$saemark" run "$tmp/plan.yaml" --out "$tmp/bad" --no-report; }
plan "speed: 9"
one_error "unknown plan key" "plan.yaml: .*line:? ?7.*speed" run_plan
plan "eval_rows: -1"
one_error "value out of range" "line 7: eval_rows: expected a whole number from 0 to" run_plan
plan "norm: big"
one_error "unknown norm" "line 7: norm: expected one of none" run_plan
plan "norm: [unit_row]"
one_error "a list for a value" "line 7: norm: expected one value" run_plan
plan "eval_dataset: {a: b}"
one_error "keys for a value" "line 7: eval_dataset: expected one value" run_plan
plan "metrics: sparsity"
one_error "a value for a list" "line 7: metrics: expected a list" run_plan
plan 'metrics: ["beauty"]'
one_error "unknown metric" "beauty" run_plan
printf 'name: x\n\tdataset: y\n' >"$tmp/plan.yaml"
one_error "not YAML" "plan.yaml: .*line" run_plan
: >"$tmp/plan.yaml"
one_error "empty plan" "plan.yaml" run_plan
one_error "no such plan" "neither a built-in plan" "$saemark" run no-such-plan
one_error "unknown variant" "no variant|unknown variant|nosuch" \
    "$saemark" run recovery --set saes=nosuch:k=3 --out "$tmp/bad"
one_error "unknown option of a variant" "kk" \
    "$saemark" run recovery --set saes=topk:kk=3 --out "$tmp/bad"
one_error "option out of range" "k" "$saemark" run recovery --set saes=topk:k=-3 --out "$tmp/bad"
one_error "dictionary too large for memory" "MiB|GiB" \
    "$saemark" run recovery --set saes=topk:k=3,n=2000000000 --out "$tmp/bad"
one_error "no such hook or model" "no-model" \
    "$saemark" run lm --set model=no-model --set text=no-text --out "$tmp/bad"
one_error "required variable" "needs --set model" "$saemark" run lm --out "$tmp/bad"
[ -e "$tmp/bad" ] && bad "a refused plan left files" || ok
one_error "a dictionary that is not the true one" "128" \
    "$saemark" run recovery --set saes=oracle:n=64 --set steps=2 --out "$tmp/bad"
one_error "no base SAE" "base" \
    "$saemark" run recovery --set saes=itgp:n=64 --set steps=2 --out "$tmp/bad"
one_error "a base that is not there" "no-sae" \
    "$saemark" run recovery --set saes=itgp:n=64,base=no-sae --set steps=2 --out "$tmp/bad"
[ -e "$tmp/bad" ] && bad "a plan refused at its first step left files" || ok

: >"$tmp/file"
one_error "unwritable directory" "$tmp/file" \
    "$saemark" run recovery --set steps=2 --out "$tmp/file/run"

head -c 100 /dev/zero >"$tmp/x.safetensors"
one_error "broken weights" "x.safetensors" \
    "$saemark" eval "$tmp/x.safetensors" --as relu --dataset synthetic:d=16
printf 'abcde' >"$tmp/x.npy"
one_error "broken npy" "x.npy" "$saemark" convert "$tmp/x.npy" --out "$tmp/shards"
one_error "raw width" "multiple of 12|needs --d" "$saemark" convert "$tmp/x.safetensors" --d 3 --out "$tmp/shards"
[ -e "$tmp/shards/manifest.json" ] && bad "a refused conversion left a manifest" || ok

# Headers that lie. st FILE JSON COUNT BYTE: a safetensors file, its data COUNT times one byte.
st() { { printf "$(printf '\\%03o' ${#2})"'\0\0\0\0\0\0\0%s' "$2"; head -c "$3" /dev/zero | tr '\0' "$4"; } >"$1"; }
# npy FILE DICT COUNT BYTE
npy() { { printf '\223NUMPY\1\0\166\0%-117s\n' "$2"; head -c "$3" /dev/zero | tr '\0' "$4"; } >"$1"; }
weights() { "$saemark" eval "$tmp/x.safetensors" --as relu --dataset synthetic:d=8; }
array() { "$saemark" convert "$tmp/x.npy" --out "$tmp/shards"; }
four() { # DTYPE SIZE BYTE: the tensors of an SAE of width 8
    st "$tmp/x.safetensors" '{"W_enc":{"dtype":"'$1'","shape":[8,9],"data_offsets":[0,'$((72 * $2))\
']},"b_enc":{"dtype":"'$1'","shape":[9],"data_offsets":['$((72 * $2)),$((81 * $2))\
']},"W_dec":{"dtype":"'$1'","shape":[9,8],"data_offsets":['$((81 * $2)),$((153 * $2))']}}' $((153 * $2)) "$3"
}
st "$tmp/x.safetensors" '{"W_enc":{"dtype":"F32","shape":[8,8],"data_offsets":[0,256]}}' 100 '\0'
one_error "data beyond the file" "x.safetensors: .*W_enc.*100 bytes" weights
st "$tmp/x.safetensors" '{"W_enc":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}' 0 '\0'
one_error "overflowing shape" "x.safetensors: .*W_enc.*overflow" weights
four I32 4 '\1'
one_error "weights of a wrong type" "x.safetensors: .*(I32|float)" weights
four F32 4 '\0'
one_error "weights without a variant" "x.safetensors: .*--as" \
    "$saemark" eval "$tmp/x.safetensors" --dataset synthetic:d=8
four F32 4 '\377'
one_error "weights that are not numbers" "x.safetensors: .*finite.*nan" weights
npy "$tmp/x.npy" "{'descr': '<f4', 'fortran_order': False, 'shape': (100, 8), }" 64 '\0'
one_error "short npy" "x.npy: .*3200|x.npy: .*800 x 4" array
npy "$tmp/x.npy" "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }" 64 '\0'
one_error "overflowing npy" "x.npy: .*overflow" array
npy "$tmp/x.npy" "{'descr': '<i8', 'fortran_order': False, 'shape': (4, 8), }" 256 '\0'
one_error "npy of a wrong type" "x.npy: expected .*float.*I64" array
npy "$tmp/x.npy" "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8), }" 128 '\377'
one_error "npy that is not numbers" "x.npy: row 0.*finite" array
[ -e "$tmp/shards" ] && bad "a refused array left files" || ok
{ printf '\0\0\0\100'; head -c 200 /dev/zero; } >"$tmp/x.bin"
one_error "lying model header" "x.bin: width: expected" "$saemark" lm eval "$tmp/x.bin" \
    --tokenizer "$tmp/x.bin" --text "$tmp/plan.yaml"

# A full disk: a file-size limit makes every larger write fail as a full disk does.
(ulimit -f 8 && "$saemark" run recovery --set steps=4 --set batch=64 --set eval_rows=64 \
    --set checkpoint_every=2 --set seeds=0 --set saes=topk:k=2,n=1024 --out "$tmp/full" --no-report) \
    >"$tmp/out" 2>"$tmp/err"
[ $? -eq 2 ] && [ "$(grep -c '^saemark: error:' "$tmp/err")" -eq 1 ] && ok ||
    bad "a full disk says: $(cat "$tmp/err")"
[ -z "$(find "$tmp/full" -name '*.safetensors' 2>/dev/null)" ] && ok || bad "a full disk left weights"

# A disk that is really full, where the system lets us make one.
mkdir -p "$tmp/tiny"
if mount -t tmpfs -o size=256k saemark "$tmp/tiny" 2>/dev/null; then
    one_error "a full disk" "No space left" "$saemark" run recovery --set steps=4 --set batch=64 \
        --set eval_rows=64 --set checkpoint_every=2 --set seeds=0 --set saes=topk:k=2,n=1024 \
        --out "$tmp/tiny/run" --no-report
    [ -z "$(find "$tmp/tiny" -name '*.tmp*' -o -name metrics.csv -o -name run.json)" ] && ok ||
        bad "a full disk left $(find "$tmp/tiny" -type f | tr '\n' ' ')"
    umount "$tmp/tiny"
else
    skip "no right to mount a small file system"
fi
