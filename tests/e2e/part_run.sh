# A small plan from start to report; the same bytes for any thread count and after a kill.
set_small="--set steps=400 --set batch=256 --set eval_rows=2048 --set checkpoint_every=20
--set seeds=3 --set saes=topk:k={4,8},n=128"
expect 0 "run on two threads" "$saemark" run recovery $set_small --out "$tmp/a" --threads 2
for f in run.json saes.csv loss.csv metrics.csv features.csv index.html plots/frontier.svg plots/frontier.png; do
    [ -s "$tmp/a/$f" ] && ok || bad "run left no $f"
done
[ -e "$tmp/a/state" ] && bad "a finished run keeps its state" || ok
expect 0 "run on one thread" "$saemark" run recovery $set_small --out "$tmp/b" --threads 1 --no-report
for f in saes.csv loss.csv metrics.csv features.csv; do
    same "threads change $f" "$tmp/a/$f" "$tmp/b/$f"
done
for sae in "$tmp/a"/saes/*; do
    same "threads change weights" "$sae/sae_weights.safetensors" "$tmp/b/saes/${sae##*/}/sae_weights.safetensors"
done

# kill -9 once a checkpoint is there, then resume: nothing may differ from the uninterrupted run.
"$saemark" run recovery $set_small --out "$tmp/k" --no-report >/dev/null 2>&1 &
pid=$!
i=0
while [ $i -lt 3000 ] && [ -z "$(ls -d "$tmp"/k/state/wave-0000/step-* 2>/dev/null | grep -v '\.tmp$')" ]; do
    sleep 0.01
    i=$((i + 1))
done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
[ -e "$tmp/k/metrics.csv" ] && bad "the run ended before it could be killed" || ok
one_error "a run directory is not overwritten" "holds a run already" \
    "$saemark" run recovery $set_small --out "$tmp/k"
one_error "another plan does not resume it" "belongs to another run" \
    "$saemark" run recovery $set_small --set steps=401 --out "$tmp/k" --resume
expect 0 "resume" "$saemark" run recovery $set_small --out "$tmp/k" --resume --no-report
for f in saes.csv loss.csv metrics.csv features.csv; do
    same "resuming changes $f" "$tmp/a/$f" "$tmp/k/$f"
done
mkdir "$tmp/k/state" # killed while it cleared its state
expect 0 "resume of a finished run" "$saemark" run recovery $set_small --out "$tmp/k" --resume
[ -e "$tmp/k/state" ] && bad "a finished run keeps its state" || ok
one_error "another plan is not that finished run" "belongs to another run" \
    "$saemark" run recovery $set_small --set steps=401 --out "$tmp/k" --resume

# Ctrl-C: exit 1, one line, resumable.
"$saemark" run recovery $set_small --set steps=100000 --out "$tmp/c" --no-report >/dev/null 2>"$tmp/err" &
pid=$!
i=0
while [ $i -lt 200 ] && [ ! -d "$tmp/c/state" ]; do sleep 0.05; i=$((i + 1)); done
sleep 0.3
kill -TERM $pid
wait $pid
[ $? -eq 1 ] && grep -q 'continue with --resume' "$tmp/err" && ok ||
    bad "an interrupted run says: $(tail -n 1 "$tmp/err")"

# Two devices: a report as any other, the same bytes again, a run of its own.
set_two="$set_small --set steps=40 --set seeds=3 --set eval_rows=512"
expect 0 "run on two devices" "$saemark" run recovery $set_two --out "$tmp/d" --device cpu:0-1
[ -s "$tmp/d/index.html" ] && grep -q '"devices": 2' "$tmp/d/run.json" && ok || bad "no report of two devices"
expect 0 "run on two devices of two threads" \
    "$saemark" run recovery $set_two --out "$tmp/e" --device cpu:0-1 --threads 4 --no-report
for f in loss.csv metrics.csv; do
    same "threads of devices change $f" "$tmp/d/$f" "$tmp/e/$f"
done
one_error "one device does not resume it" "belongs to another run" \
    "$saemark" run recovery $set_two --out "$tmp/d" --device cpu --resume
one_error "a batch that does not divide" "3 devices cannot divide batches of 256 rows" \
    "$saemark" run recovery $set_two --out "$tmp/x" --device cpu:0-2
one_error "a device for a command that takes one" "takes one device" \
    "$saemark" check --device cpu:0-1

# SAEs divided over two devices: the bytes of one, a run of its own.
expect 0 "run on one device" "$saemark" run recovery $set_two --out "$tmp/f" --device cpu --no-report
expect 0 "run divided over two devices" \
    "$saemark" run recovery $set_two --out "$tmp/g" --device cpu:0-1,divided --no-report
grep -q '"divided": 2' "$tmp/g/run.json" && ok || bad "run.json does not say that devices were one"
for f in loss.csv metrics.csv; do
    same "division over devices changes $f" "$tmp/f/$f" "$tmp/g/$f"
done
one_error "one device does not resume what was divided" "belongs to another run" \
    "$saemark" run recovery $set_two --out "$tmp/g" --device cpu --resume
one_error "one device cannot divide" "expected several devices, as in cpu:0-3,divided" \
    "$saemark" run recovery $set_two --out "$tmp/x" --device cpu:1,divided
expect 0 "a command of one device on two that are one" \
    "$saemark" eval "$tmp/g/saes"/* --dataset synthetic:d=64 --metric sparsity --rows 64 --device cpu:0-1,divided

# report redraws from CSV alone.
rm -rf "$tmp/a/plots" "$tmp/a/index.html"
expect 0 "report" "$saemark" report "$tmp/a"
[ -s "$tmp/a/plots/frontier.svg" ] && [ -s "$tmp/a/index.html" ] && ok || bad "report draws nothing"

# Results in SAEBench's layout, read back, drawn beside the run's. Data without a model: no losses.
expect 0 "results for SAEBench" "$saemark" convert "$tmp/a" --to saebench --out "$tmp/json"
expect 0 "results of SAEBench" "$saemark" convert "$tmp/json" --out "$tmp/published"
expect 0 "report beside published results" "$saemark" report "$tmp/a" --beside "$tmp/published"
[ -s "$tmp/a/plots/saebench_variance.svg" ] && [ ! -e "$tmp/a/plots/saebench_ce.svg" ] && ok ||
    bad "published results are not drawn where both have the metric"
one_error "results of another kind" "--to pdf: expected saebench" \
    "$saemark" convert "$tmp/a" --to pdf --out "$tmp/x"
one_error "no results" "no results found" "$saemark" convert "$tmp/a/saes" --out "$tmp/x"

# Without gnuplot: the tables, a warning, success.
rm -rf "$tmp/a/plots" "$tmp/a/index.html"
expect 0 "report without gnuplot" env PATH="$tmp" "$saemark" report "$tmp/a"
grep -q 'warning: plots need gnuplot' "$tmp/err" && [ -s "$tmp/a/index.html" ] && ok ||
    bad "without gnuplot: $(cat "$tmp/err")"

# A trained SAE reads back and measures the same on the same rows.
sae=$(ls -d "$tmp"/a/saes/* | head -n 1)
expect 0 "eval of an export" "$saemark" eval "$sae" --dataset synthetic:d=64,features=256,l0=8 \
    --metric reconstruction --rows 2048

# A changed byte in the weights is noticed.
printf x | dd of="$sae/saemark.safetensors" bs=1 seek=5000 conv=notrunc 2>/dev/null
one_error "changed weights" "SHA-256 expected" "$saemark" eval "$sae" --dataset synthetic:d=64
