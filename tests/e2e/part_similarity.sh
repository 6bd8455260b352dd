# Parts of an SAE's rows as shards; activations compared between places, dictionaries by the origins of their atoms.
# x = xhat + error, error = linear + nonlinear, row by row.
expect 0 "an SAE" "$saemark" run recovery --set steps=40 --set batch=256 --set eval_rows=256 --set seeds=0 \
    --set saes=topk:k=4,n=128 --out "$tmp/sae" --no-report
sae=$(echo "$tmp"/sae/saes/*)
numbers() { # PIECE: its numbers, one per line
    tail -c $((1000 * 64 * 4)) "$tmp/$1/acts-00000.safetensors" | od -An -v -t f4 -w4
}
for piece in x xhat error linear nonlinear; do
    expect 0 "capture $piece" "$saemark" capture --dataset synthetic:d=64,features=128,l0=4,firing=exact --sae "$sae" --part $piece \
        --rows 1000 --out "$tmp/$piece"
    numbers $piece >"$tmp/$piece.txt"
done
# Each is rounded to float once; entries are below 16.
paste "$tmp/x.txt" "$tmp/xhat.txt" "$tmp/error.txt" "$tmp/linear.txt" "$tmp/nonlinear.txt" | awk '
    { a = $1 - $2 - $3; b = $3 - $4 - $5; off += a * a > 1e-11 || b * b > 1e-11; xx += $1 * $1; ee += $3 * $3; nn += $5 * $5 }
    END { exit !(NR == 64000 && off == 0 && ee > 0 && ee < xx && nn < ee) }' && ok ||
    bad "the parts do not add up: $(paste "$tmp/x.txt" "$tmp/xhat.txt" "$tmp/error.txt" | head -n 2 | tr '\n' ';')"
one_error "a dataset without a part" "--part is required" "$saemark" capture --dataset synthetic:d=64 --sae "$sae" --out "$tmp/y"
one_error "rows of no dataset" "--dataset is required" "$saemark" capture --model m --text t --hook h --rows 9 --out "$tmp/y"
one_error "no such part" "expected x, xhat, error" \
    "$saemark" capture --dataset synthetic:d=64 --sae "$sae" --part fog --out "$tmp/y"
one_error "a model and a dataset" "--model does not go with --dataset" \
    "$saemark" capture --dataset synthetic:d=64 --sae "$sae" --part x --model m --out "$tmp/y"

# The same rows at two places: as they are, and as the SAE rebuilds them.
hooks="shards:dir={$tmp/x,$tmp/xhat}"
place() { echo "$tmp"/place$1/saes/*; }
for layer in 0 1; do
    [ $layer -eq 0 ] && rows=x || rows=xhat
    printf '%s\n' "name: place" "dataset: \"shards:dir=$tmp/$rows\"" "norm: none" "steps: 4" "batch: 256" \
        "eval_rows: 64" "seeds: [0]" "metrics: [sparsity]" \
        "saes: [{spec: \"itda:k=4,n=2048,kappa=0.8,add=sequential\"}]" >"$tmp/plan.yaml"
    expect 0 "a dictionary of layer $layer" "$saemark" run "$tmp/plan.yaml" --out "$tmp/place$layer" --no-report
done
four="--atoms $(place 0) --atoms $(place 1)"
# shellcheck disable=SC2086 # words
expect 0 "similarity" "$saemark" similarity "a=$hooks" "b=$hooks" --rows 64 --anchors 20 $four $four --transfer --out "$tmp/sim"
# value MEASURE FORM A B: and FIELD 5 instead of the value: what is behind it
value() { awk -F, -v want="\"$1\",\"$2\",\"$3\",\"$4\"" -v at="${5:-6}" \
    '$1 "," $2 "," $3 "," $4 == want { print $at }' "$tmp/sim/similarity.csv"; }
# b is a under another name. Float rows: 2e-7 for cosines, sums in double for the others.
for m in cka svcca relative; do
    holds "$m of a place and itself" '$1 > 1 - 1e-6 && $1 < 1 + 1e-6' "$(value $m corrected a/0 b/0)"
    holds "$m of two places" '$1 > 0 && $1 < 0.999' "$(value $m corrected a/0 b/1)"
done
holds "atoms of a place and itself" '$1 == 1' "$(value jaccard released a/1 b/1)"
holds "atoms of two places" '$1 > 0 && $1 < 1' "$(value jaccard released a/0 b/1)"
holds "all atoms of a model and itself" '$1 == 1' "$(value jaccard_union released a b)"
holds "less than by chance" '$1 < 1 && $1 > 0' "$(value jaccard_union corrected a b)"
# |I or J| = (|I| + |J|) / (1 + |I and J| / |I or J|)
holds "the union" '$1 * (1 + $4) - ($2 + $3) < 1e-6 && $1 * (1 + $4) - ($2 + $3) > -1e-6' "$(value jaccard_union released a b 5)" \
    "$(value jaccard released a/0 b/0 5)" "$(value jaccard released a/1 b/1 5)" "$(value jaccard released a/0 a/1)"
holds "a dictionary rebuilt from its own origins" '$1 == 1' "$(value transfer ratio a/1 b/1)"
holds "one rebuilt from others'" '$1 > 0 && $1 != 1' "$(value transfer ratio a/0 b/1)"
grep -q '^"cka","corrected","cross",4,1$' "$tmp/sim/layer_matching.csv" && ok ||
    bad "layers of equal models: $(grep cka "$tmp/sim/layer_matching.csv" | tr '\n' ' ')"
[ -s "$tmp/sim/plots/cka_corrected.svg" ] && [ -s "$tmp/sim/plots/transfer_ratio.png" ] && ok || bad "no heat maps"
one_error "other tokens" "row [0-9]+ of a/0 is token .* the same text" \
    "$saemark" similarity "a=$hooks" "b=shards:dir=$tmp/x,eval=0.3" --rows 64 --out "$tmp/x"
one_error "a dictionary too few" "1 dictionaries for 2 places" \
    "$saemark" similarity "a=$hooks" --rows 64 --atoms "$(place 0)" --out "$tmp/x"
one_error "nothing to rebuild" "--transfer: expected --atoms" "$saemark" similarity "a=$hooks" --rows 64 --transfer --out "$tmp/x"
one_error "the same name twice" "another model has that name" "$saemark" similarity "a=$hooks" "a=$hooks" --rows 64 --out "$tmp/x"
one_error "nowhere to write" "--out DIR is required" "$saemark" similarity "a=$hooks"
[ -e "$tmp/y" ] || [ -e "$tmp/x/similarity.csv" ] && bad "refused commands left files" || ok
