# Language models on a dataset with documents: losses against the exact surprisal, by class, beside
# baselines; linear probes of the labels. The model is hardly trained.
cat >"$tmp/config.json" <<'JSON'
{"model_type": "llama", "hidden_act": "silu", "hidden_size": 24, "intermediate_size": 32,
 "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 734,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
 "bos_token_id": 0}
JSON
m=$tmp/tiny
expect 0 "a tiny model" "$saemark" lm train "$tmp/config.json" --out "$m" --data organism --steps 2 \
    --batch 4 --eval-docs 64 --seed 0
grep -q "no --tokenizer: the model will not read or generate text" "$tmp/err" && ok ||
    bad "a model without a tokenizer was trained in silence"
one_error "no tokenizer, no text" "prompt: the model has no tokenizer" "$saemark" lm generate "$m" --prompt anna
number() { # KEY FILE: the first number of the key
    sed -n "s/.*\"$1\": \([-0-9.e]*\),*/\1/p" "$2" | head -n 1
}

eval="$saemark lm eval $m --data organism --docs 64 --by segment --ablate resid_post.1=mean"
expect 0 "lm eval --data" $eval
awk '/^clean/ { for (i = 1; i < NF; i++) if ($i ~ /^(ce_nats|surprisal|gap)$/) v[$i] = $(i + 1)
                off = v["ce_nats"] - v["surprisal"] - v["gap"]; good += off * off < 1e-6 }
     /^  / && !ablated { classes++; for (i = 1; i < NF; i++) if ($i == "tokens") n += $(i + 1) }
     /^resid_post.1=mean/ { ablated = 1; good++ }
     END { exit !(good == 2 && classes == 9 && n == 64 * 127) }' "$tmp/out" && ok ||
    bad "lm eval --data said $(cat "$tmp/out")"
expect 0 "lm eval --data --json" $eval --json --threads 2
cp "$tmp/out" "$tmp/eval.json"
[ "$(number ce_nats "$tmp/out" | cut -c 1-10)" = "$(number eval_ce_nats "$m/training.json" | cut -c 1-10)" ] &&
    ok || bad "lm eval and training differ: $(number ce_nats "$tmp/out")"
expect 0 "lm eval on one thread" $eval --json --threads 1
grep -v tokens_per_second "$tmp/eval.json" >"$tmp/eval.some"
grep -v tokens_per_second "$tmp/out" >"$tmp/eval.one"
same "scores do not depend on threads" "$tmp/eval.some" "$tmp/eval.one"
# The figures of datasets/organism/README.md: 6.60, 5.07, 2.85 and 1.78; 512 documents leave errors
# below 0.01.
expect 0 "baselines" "$saemark" lm eval "$m" --data organism --baselines --json
for pair in uniform_nats:6.5985 unigram_nats:5.07 bigram_nats:2.85 surprisal_nats:1.7751; do
    printf '%s %s\n' "$(number "${pair%:*}" "$tmp/out")" "${pair#*:}" |
        awk '{ exit !($1 - $2 < 0.04 && $2 - $1 < 0.04) }' && ok ||
        bad "$pair: $(number "${pair%:*}" "$tmp/out")"
done

probe="$saemark lm probe $m --data organism --docs 64 --eval-docs 64"
expect 0 "lm probe" $probe --baseline
head -n 1 "$tmp/out" | grep -q '^resid_post.1, 64 documents' && ok || bad "not the middle layer"
[ "$(awk 'NR > 2 { print $1 }' "$tmp/out" | tr '\n' ' ')" = "topic sentiment tense register segment \
class gender nationality profession number initial next position kind super polarity formality \
country continent value answer items direction " ] && ok || bad "labels: $(cat "$tmp/out")"
expect 0 "lm probe --json" $probe --json --labels tense,topic --threads 1
cp "$tmp/out" "$tmp/probe.json"
[ "$(grep -c '"trained": 8128' "$tmp/out")" -eq 2 ] && ok || bad "two labels of every row: $(cat "$tmp/out")"
expect 0 "lm probe on two threads" $probe --json --labels topic,tense --threads 2
same "probes do not depend on threads nor on the order of labels" "$tmp/probe.json" "$tmp/out"
# Behind the embedding every number word is one point: its value is told without an error.
expect 0 "lm probe of the embedding" $probe --hook resid_pre.0 --labels value --json
[ "$(number accuracy "$tmp/out")$(number balanced_accuracy "$tmp/out")" = 1.01.0 ] && ok ||
    bad "value of a word: $(cat "$tmp/out")"

echo "anna sings ." >"$tmp/song.txt"
refused() { # PATTERN ARGUMENTS...: of lm
    pattern=$1
    shift
    one_error "lm $*" "$pattern" "$saemark" lm "$@"
}
refused "one of --data SPEC and --text FILE" eval "$m"
refused "one of --data SPEC and --text FILE" eval "$m" --data organism --text "$tmp/song.txt"
refused "ablation .resid_post.1.: expected HOOK=zero" eval "$m" --data organism --docs 2 --ablate resid_post.1
[ -s "$tmp/out" ] && bad "a score is printed before an ablation is refused" || ok
tr '\n' ' ' <datasets/organism/README.md >"$tmp/long.txt"
expect 0 "a text longer than the context" "$saemark" lm eval @organism --text "$tmp/long.txt"
grep -q 'long.txt: 1 of 1 documents cut to the model.s context of 128 tokens' "$tmp/err" && ok ||
    bad "a cut text says: $(cat "$tmp/err")"
refused "by: .*expected --data" eval "$m" --text "$tmp/song.txt" --by segment
refused "baselines: .*expected --data" eval "$m" --text "$tmp/song.txt" --baselines
refused "unknown label \"segmet\"; did you mean \"segment\"" eval "$m" --data organism --by segmet
refused "docs 513: documents 0 to 512: expected less than 512 \(option eval\)" eval "$m" \
    --data organism --docs 513
refused "docs 0: expected a whole number" eval "$m" --data organism --docs 0
refused "no documents of its own" eval "$m" --data synthetic
refused "no-model" eval "$tmp/no-model" --data organism
refused "lm probe: --data SPEC is required" probe "$m"
refused "no documents of its own" probe "$m" --data synthetic
refused "resid_post.3" probe "$m" --data organism --hook resid_post.3
refused "unknown label \"tens\"; did you mean \"tense\"" probe "$m" --data organism --labels topic,tens
refused "unknown label \"\"; known: topic, sentiment" probe "$m" --data organism --labels ,
refused "eval-docs 600: documents 599 to 599: expected less than 512 \(option eval\)" probe "$m" --data organism --docs 1 --eval-docs 600
few=$data/stories260k/stories260K.bin
if [ -r "$few" ]; then
    refused "expected an id from 0 to 511" eval "$few" --data organism --docs 2
    refused "expected an id from 0 to 511" probe "$few" --data organism --docs 2
else
    skip "$few is not there (set SAEMARK_DATA)"
fi
