# The model inside the program: near the entropy rate, latents to be read off linearly, words out.
number() { # KEY: its value in the last output
    sed -n "s/.*\"$1\": \(-*[0-9.e-]*\).*/\1/p" "$tmp/out" | head -n 1
}

expect 0 "score" "$saemark" lm eval @organism --data organism --docs 256 --json
# Measured: 0.022 on 512 documents; a bound on regressions of the pass, the weights, the surprisal.
holds "gap to the entropy rate" '$1 > 0 && $1 < 0.04' "$(number gap_nats)"

# Accuracy beside the share of the most frequent class; datasets/organism/README.md has all labels.
expect 0 "probe" "$saemark" lm probe @organism --data organism --docs 512 --eval-docs 256 \
    --labels topic,sentiment,tense,register,gender,segment --json
for pair in topic:0.3 sentiment:0.7 tense:0.45 register:0.6 gender:0.62 segment:0.8; do
    accuracy=$(tr -d ' \n' <"$tmp/out" | sed "s/.*\"${pair%:*}\":{\([^}]*\)}.*/\1/; s/.*\"accuracy\":\([0-9.]*\).*/\1/")
    holds "probe of ${pair%:*}" '$1 > $2' "$accuracy" "${pair#*:}"
done

expect 0 "generate" "$saemark" lm generate @organism --prompt 'spell cat :' --temperature 0 --tokens 4
grep -q 'spell cat : C A T \.' "$tmp/out" && ok || bad "it spells: $(cat "$tmp/out")"
one_error "a second tokenizer" "model @organism: it has its tokenizer inside the program" "$saemark" \
    lm generate @organism --tokenizer datasets/organism/model/tokenizer.json
one_error "no such model" "no such model inside the program" "$saemark" lm eval @nothing --data organism

expect 0 "the built-in plan" "$saemark" run quickstart --set steps=20 --set batch=256 --set eval_rows=512 \
    --set saes=topk:k=8,n=256 --out "$tmp/organism" --no-report
grep -q 'ce_spliced\|loss_recovered' "$tmp/organism/metrics.csv" && ok || bad "no downstream metrics of the organism"

# A second hook as target: features that read one place and predict another, and the linear map of a trained SAE.
target='organism:hook=resid_post.2,target=resid_post.3,eval=20'
fvu() { sed -n 's/.*,"reconstruction.fvu",\([^,]*\),.*/\1/p' "$1/metrics.csv"; }
expect 0 "a target" "$saemark" run quickstart --set steps=300 --set batch=256 --set eval_rows=1024 --set "dataset=$target" \
    --set 'saes=transcoder:k=8,n=128' --out "$tmp/transcoder" --no-report
holds "a transcoder learns" '$1 > 0 && $1 < 0.9' "$(fvu "$tmp/transcoder")"
grep -q ',"resid_post.3",' "$tmp/transcoder/metrics.csv" && ok || bad "metrics of a target name its hook"
expect 0 "a base" "$saemark" run quickstart --set steps=200 --set batch=256 --set eval_rows=1024 --set "dataset=$target" \
    --set 'saes=topk:k=8,n=128' --out "$tmp/base" --no-report
expect 0 "its map" "$saemark" run quickstart --set steps=20 --set batch=256 --set eval_rows=1024 --set "dataset=$target" \
    --set "saes=layer_map:n=128,base=\"$(echo "$tmp"/base/saes/*)\"" --out "$tmp/map" --no-report
holds "a linear map predicts" '$1 > 0 && $1 < 0.5' "$(fvu "$tmp/map")"
# What its files say it was trained on; resid_pre.3 is resid_post.2 under another name.
measure() { "$saemark" eval "$tmp"/base/saes/* --dataset "organism:$1,eval=20" --metric sparsity --rows 64; }
expect 0 "another hook" measure hook=resid_post.3
[ "$(grep -c 'warning: .* was trained on hook=resid_post.2, but is measured on hook=resid_post.3$' "$tmp/err")" -eq 1 ] && ok ||
    bad "another hook is not told: $(cat "$tmp/err")"
for same in hook=resid_post.2 hook=resid_pre.3 hook=blocks.2.hook_resid_post,batch=64; do
    expect 0 "the hook it was trained on" measure $same
    grep -q 'warning' "$tmp/err" && bad "a warning of $same: $(cat "$tmp/err")" || ok
done
one_error "no target" "needs a separate target" "$saemark" eval "$tmp"/map/saes/* --dataset organism --rows 64
