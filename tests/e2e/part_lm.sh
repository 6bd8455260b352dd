# Real language models: scores equal the float64 references; capture, train, splice, report.
models=$data/stories260k
text=$data/tinystories-sample/stories_0001_1800.txt
# lm NAME WEIGHTS TOKENIZER: corpus CE over the first 50 stories, relative 1e-4; ablations 1e-3.
lm() {
    golden=$data/$1/golden.json
    "$saemark" lm eval "$data/$1/$2" --tokenizer "$data/$3" --text "$text" \
        --doc-separator '<|endoftext|>' --docs 50 --ablate resid_post.2=zero \
        --ablate resid_post.2=mean --json >"$tmp/lm.json" 2>"$tmp/err" ||
        bad "lm eval $1: $(cat "$tmp/err")"
    want=$(tr -d ' \n' <"$golden" | sed 's/.*"mean_ce_nats":\([0-9.]*\).*/\1/')
    zero=$(tr -d ' \n' <"$golden" | sed 's/.*"zero_ablation_ce_by_layer":\[[0-9.]*,[0-9.]*,\([0-9.]*\).*/\1/')
    mean=$(tr -d ' \n' <"$golden" | sed 's/.*"mean_ablation_ce_by_layer":\[[0-9.]*,[0-9.]*,\([0-9.]*\).*/\1/')
    got=$(sed -n 's/.*"ce_nats": \([0-9.]*\).*/\1/p' "$tmp/lm.json" | tr '\n' ' ')
    printf '%s %s %s %s\n' "$got" "$want" "$zero" "$mean" | awk '
        function off(a, b) { return (a > b ? a - b : b - a) / b }
        { exit !(NF == 6 && off($1, $4) < 1e-4 && off($2, $5) < 1e-3 && off($3, $6) < 1e-3) }' &&
        ok || bad "lm eval $1: got $got, expected $want $zero $mean"
}
if [ -r "$text" ] && [ -r "$models/stories260K.bin" ]; then
    lm stories260k stories260K.bin stories260k/tok512.bin
    lm babyllama105 model5000.bin babyllama105/tok105.bin
    lm bitllama3m bitllama3m.f32.safetensors stories260k/tok512.bin
    one_error "no such hook" "resid_post.9" "$saemark" lm eval "$models/stories260K.bin" \
        --tokenizer "$models/tok512.bin" --text "$text" --ablate resid_post.9=zero
    printf 'good \377 bad' >"$tmp/latin.txt"
    one_error "invalid UTF-8" "latin.txt.*byte|UTF-8" "$saemark" lm eval "$models/stories260K.bin" \
        --tokenizer "$models/tok512.bin" --text "$tmp/latin.txt"
    head -c 5000 "$models/stories260K.bin" >"$tmp/cut.bin"
    one_error "truncated weights" "cut.bin" "$saemark" lm eval "$tmp/cut.bin" \
        --tokenizer "$models/tok512.bin" --text "$text"

    # generate NAME ARGUMENTS...: status 0, text in $tmp/out.
    generate() {
        name=$1
        shift
        expect 0 "generate, $name" "$saemark" lm generate "$models/stories260K.bin" \
            --tokenizer "$models/tok512.bin" "$@"
    }
    generate greedy --prompt 'Once upon a time' --temperature 0 --tokens 60
    grep -q '^Once upon a time, there was a little girl named Lily. She loved to play outside' \
        "$tmp/out" && ok || bad "greedy text: $(head -c 100 "$tmp/out")"
    grep -q '60 tokens, .* tokens/s; prompt: 5 tokens' "$tmp/err" && ok || bad "no speed on stderr"
    printf 'Once upon a time' >"$tmp/prompt.txt"
    cp "$tmp/out" "$tmp/greedy"
    generate "a prompt in a file" --prompt-file "$tmp/prompt.txt" --temperature 0 --tokens 60
    same "prompt and prompt file" "$tmp/greedy" "$tmp/out"
    generate sampled --top-p 0.9 --seed 5 --count 3 --tokens 40 --threads 1
    cp "$tmp/out" "$tmp/sampled"
    [ "$(grep -c '^---$' "$tmp/out")" -eq 2 ] && ok || bad "expected three continuations"
    generate "sampled again" --top-p 0.9 --seed 5 --count 3 --tokens 40 --threads 2
    same "one seed, any number of threads" "$tmp/sampled" "$tmp/out"
    generate "another seed" --top-p 0.9 --seed 6 --count 3 --tokens 40
    cmp -s "$tmp/sampled" "$tmp/out" && bad "another seed gives the same text" || ok
    generate "a full context" --ignore-eos --tokens 2000 --json
    grep -q '"stop": "context"' "$tmp/out" && grep -q '"tokens": 512' "$tmp/out" && ok ||
        bad "a full context is not reported: $(tail -n 20 "$tmp/out")"
    generate "the end" --seed 1 --tokens 500 --json
    grep -q '"stop": "end"' "$tmp/out" && ok || bad "a story does not end"
    generate "no token" --tokens 0 --prompt x
    [ "$(cat "$tmp/out")" = x ] && ok || bad "no token: $(cat "$tmp/out")"
    # refused PATTERN ARGUMENTS...
    refused() {
        pattern=$1
        shift
        one_error "generate $*" "$pattern" "$saemark" lm generate "$models/stories260K.bin" "$@"
    }
    refused "temperature -1: expected a number" --temperature -1
    refused "top-p 0: expected a number above 0" --top-p 0
    refused "top-p 1.5: expected a number" --top-p 1.5
    refused "tokens x: expected a whole number" --tokens x
    refused "count 0: expected a whole number" --count 0
    refused "exclude each other" --prompt a --prompt-file "$tmp/prompt.txt"
    refused "no-file" --prompt-file "$tmp/no-file"
    refused "latin.txt: .*UTF-8" --prompt-file "$tmp/latin.txt" --tokenizer "$models/tok512.bin"
    head -c 9000 "$text" >"$tmp/long.txt"
    refused "prompt: expected 1 to 512 tokens .the model's context., found [0-9]{4}" \
        --prompt-file "$tmp/long.txt" --tokenizer "$models/tok512.bin"
    mkdir -p "$tmp/alone"
    cp "$models/stories260K.bin" "$tmp/alone"
    "$saemark" lm generate "$tmp/alone/stories260K.bin" >"$tmp/out" 2>"$tmp/err"
    [ $? -ne 0 ] && grep -q 'no tokenizer' "$tmp/err" && ok || bad "no tokenizer: $(cat "$tmp/err")"
    if [ -c /dev/full ]; then
        "$saemark" lm generate "$models/stories260K.bin" --tokens 5 >/dev/full 2>"$tmp/err"
        [ $? -eq 1 ] && [ "$(grep -c 'error: writing' "$tmp/err")" -eq 1 ] && ok ||
            bad "a full standard output: $(cat "$tmp/err")"
    fi

    expect 0 "capture" "$saemark" capture --model "$models/stories260K.bin" --text "$text" \
        --tokenizer "$models/tok512.bin" --hook resid_post.2 --out "$tmp/acts" --docs 40 \
        --doc-separator '<|endoftext|>'
    [ -s "$tmp/acts/manifest.json" ] && ok || bad "capture wrote no manifest"
    expect 0 "check of shards" "$saemark" check "$tmp/acts"
    # Gradients beside activations, at a hook wider than the model (64): rows, tokens and
    # activations are those of a capture without them.
    for grads in '' --grads; do
        expect 0 "capture $grads" "$saemark" capture --model "$models/stories260K.bin" \
            --text "$text" --tokenizer "$models/tok512.bin" --hook mlp_act.1 --docs 5 \
            --doc-separator '<|endoftext|>' --dtype bf16 $grads --out "$tmp/wide$grads"
    done
    grep -q 'rows of mlp_act.1 with gradients' "$tmp/out" && ok || bad "capture said $(cat "$tmp/out")"
    expect 0 "check of shards with gradients" "$saemark" check "$tmp/wide--grads"
    for key in '"grads": "F32"' '"dtype": "BF16"' '"d": 172'; do
        grep -q "$key" "$tmp/wide--grads/manifest.json" && ok || bad "no $key in the manifest"
    done
    sed '/"xxh128"/d; /"grads"/d' "$tmp/wide--grads/manifest.json" >"$tmp/with"
    sed '/"xxh128"/d' "$tmp/wide/manifest.json" >"$tmp/without"
    same "manifests with and without gradients" "$tmp/with" "$tmp/without"
    one_error "a format of no gradients" "expected --grads with it" "$saemark" capture \
        --model "$models/stories260K.bin" --text "$text" --tokenizer "$models/tok512.bin" \
        --hook mlp_act.1 --grads-dtype f16 --out "$tmp/none"
    one_error "a format that is none" "grads-dtype f8: expected f32, f16 or bf16" "$saemark" \
        capture --model "$models/stories260K.bin" --text "$text" --tokenizer "$models/tok512.bin" \
        --hook mlp_act.1 --grads --grads-dtype f8 --out "$tmp/none"
    cp -r "$tmp/acts" "$tmp/acts2"
    shard=$(ls "$tmp"/acts2/*.safetensors | head -n 1)
    printf x | dd of="$shard" bs=1 seek=90000 conv=notrunc 2>/dev/null
    one_error "a changed shard" "${shard##*/}" "$saemark" check "$tmp/acts2"
    expect 0 "run on shards" "$saemark" run recovery --set "dataset=shards:dir=$tmp/acts" \
        --set steps=20 --set batch=256 --set eval_rows=512 --set seeds=0 --set saes=topk:k=8,n=4d \
        --out "$tmp/shard-run" --no-report
    grep -q 'reconstruction.fvu' "$tmp/shard-run/metrics.csv" && ok || bad "no metrics on shards"
    expect 0 "run on a model" "$saemark" run lm --set model="$models/stories260K.bin" \
        --set tokenizer="$models/tok512.bin" --set text="$text" --set docs=60 --set steps=60 \
        --set batch=512 --set eval_rows=1000 --set seeds=0 --set saes=topk:k=32,n=8d --out "$tmp/lm"
    awk -F'","|",|,"' '/downstream.loss_recovered_zero/ { found = 1 } END { exit !found }' \
        "$tmp/lm/metrics.csv" && ok || bad "no downstream rows"
    expect 0 "run on a wider hook" "$saemark" run lm --set model="$models/stories260K.bin" \
        --set tokenizer="$models/tok512.bin" --set text="$text" --set docs=60 --set steps=20 \
        --set batch=512 --set eval_rows=1000 --set seeds=0 --set hook=mlp_act.1 \
        --set saes=topk:k=32,n=2d --out "$tmp/lm-wide" --no-report
    grep -q 'downstream.loss_recovered_zero' "$tmp/lm-wide/metrics.csv" && ok ||
        bad "no downstream rows at a wider hook"
    [ -s "$tmp/lm/plots/frontier.svg" ] && ok || bad "no plots of the model run"
else
    skip "$text or the models are not there (set SAEMARK_DATA)"
fi
