# Tracking: nights into a store, change points, alerts, reports; the gates with programs whose times
# are made up, so that the answers do not depend on this machine.
db=$tmp/nights.db

# nights FROM TO SLOW: benchmark JSON of two processes a night; from night SLOW on f/1 is 6 % slower.
nights() {
    n=$1
    while [ "$n" -lt "$2" ]; do
        for p in 0 1; do
            awk -v n="$n" -v p=$p -v slow="$3" 'BEGIN {
                printf "{\"context\": {\"host_name\": \"rig\", \"git\": \"%07x\", \"date\": \"2026-01-%02dT02:00:00Z\"},\n", \
                    11256099 + n, n + 1
                printf "\"benchmarks\": [\n"
                for (b = 1; b <= 3; b++) {
                    t = 100 * b * (1 + 0.002 * ((n * 7 + b * 3 + p) % 11 - 5))
                    if (b == 1 && n >= slow) t *= 1.06
                    printf "{\"name\": \"%s/%d\", \"real_time\": %.6f, \"time_unit\": \"us\"}%s\n", \
                        b == 3 ? "calibration" : "f", b, t, b < 3 ? "," : ""
                }
                print "]}"
            }' >"$tmp/night-$p.json"
        done
        "$saemark" track import --db "$db" "$tmp/night-0.json" "$tmp/night-1.json" >/dev/null || return 1
        n=$((n + 1))
    done
}

expect 0 "twenty nights" nights 0 20 20
expect 0 "nothing changes" "$saemark" track analyse --db "$db"
expect 0 "the last night again" "$saemark" track import --db "$db" "$tmp/night-0.json" "$tmp/night-1.json"
grep -q "was stored already" "$tmp/out" || bad "a second import is not recognised"
expect 0 "ten slow nights" nights 20 30 20
expect 2 "a regression is open" "$saemark" track analyse --db "$db"
expect 0 "alerts" "$saemark" track alert --db "$db"
grep -q "regression .*f/1:real_time +6.* (worse) at 0abc137" "$tmp/out" || bad "the alert: $(cat "$tmp/out")"
expect 0 "report" "$saemark" track report --db "$db" --out "$tmp/site"
head -n 1 "$tmp/out" | grep -q "^regression  *+[56]\.[0-9]*%.*f/1:real_time" || bad "the report: $(head -n 1 "$tmp/out")"
cp -r "$tmp/site" "$tmp/again"
expect 0 "report again" "$saemark" track report --db "$db" --out "$tmp/site"
if diff -r "$tmp/site" "$tmp/again" >/dev/null; then ok; else bad "the same store gives another report"; fi
for f in index.html report.csv report.json; do
    [ -s "$tmp/site/$f" ] && ok || bad "$f is missing"
done
if command -v gnuplot >/dev/null; then
    [ "$(ls "$tmp/site/plots/"*.svg | wc -l)" -eq 3 ] && ok || bad "three figures expected"
fi
expect 1 "an unknown step" "$saemark" track alert 1 --to verified --db "$db"
expect 0 "accept it" "$saemark" track alert 1 --to acknowledged --note "needed" --author me --db "$db"
expect 0 "nothing is open" "$saemark" track analyse --db "$db"
expect 0 "show it" "$saemark" track alert 1 --db "$db"
grep -q "me: acknowledged needed" "$tmp/out" || bad "the events: $(cat "$tmp/out")"
expect 0 "annotate" "$saemark" track annotate 0abc130 'f*' "a look back" --db "$db"
expect 0 "maintain" "$saemark" track maintain --db "$db" --backup "$tmp/copy.db" --prune 1
expect 0 "merge" "$saemark" track import --db "$tmp/other.db" "$tmp/copy.db"
grep -q ": 30 new runs" "$tmp/out" || bad "merged: $(cat "$tmp/out")"

# Bad input: exit 1, for the other statuses are verdicts.
failed() { # NAME PATTERN ARGUMENTS...
    name=$1 pattern=$2
    shift 2
    expect 1 "$name" "$saemark" track "$@"
    grep -qE -e "$pattern" "$tmp/err" || bad "$name: no match for '$pattern' in: $(cat "$tmp/err")"
}
echo '{"benchmarks": [' >"$tmp/cut.json"
echo '{"results": []}' >"$tmp/foreign.json"
failed "no command" "usage: saemark track" 
failed "nearly a command" "did you mean 'import'" imprt
failed "cut off" "cut.json: line" import --db "$db" "$tmp/cut.json"
failed "foreign" "expected Google Benchmark JSON" import --db "$db" "$tmp/foreign.json"
failed "not there" "/no/file" import --db "$tmp/new.db" /no/file
[ -e "$tmp/new.db" ] && bad "a failed import made a store" || ok
failed "not a store" "not a SQLite file|not a store" report --db "$saemark"
failed "no store" "cannot open the store" analyse --db "$tmp/none.db"
failed "bad kind" "expected one of nightly" import --kind often --db "$db" "$tmp/night-0.json"
failed "bad commits" "expected lines" commits --db "$db" "$tmp/cut.json"
failed "unknown alert" "no alert 99" alert 99 --to triaged --db "$db"
failed "an alert that is not there" "no alert 99" alert 99 --db "$db"
failed "an answer for no store" "--alert needs --db" gate a b --alert 1 --verdict "$tmp/none.json"
failed "an answer that nobody waits for" "alert 1 is acknowledged" gate a b --alert 1 --db "$db" --verdict "$tmp/none.json"
grep -q '"status": 1' "$tmp/none.json" && grep -q 'alert 1 is acknowledged' "$tmp/none.json" ||
    bad "a failure leaves no verdict: $(cat "$tmp/none.json")"
failed "a level for three looks" "--alpha needs --pairs" gate a b --alpha 0.05 --verdict "$tmp/none.json"
failed "a note for no step" "--note goes with --to" alert 1 --note why --db "$db"
failed "a backup over a file" "copy.db: exists already" maintain --db "$db" --backup "$tmp/copy.db"
failed "unknown commit" "has no commit fff" annotate fff '*' text --db "$db"
failed "several commits" "several commits 0abc13...: 0abc130, 0abc131, 0abc132, 0abc133, 0abc134, \.\.\.$" \
    annotate 0abc13 '*' text --db "$db"
failed "wildcards are none" "has no commit 0abc13_" annotate 0abc13_ '*' text --db "$db"
expect 0 "the store is as it was" "$saemark" track maintain --db "$db"

# ---- the speed gate: programs that say what they are told to ----
# A process's time is the base's, 1 % noise (a fixed sequence for each side), times 1 + EFFECT.
cat >"$tmp/bench" <<'END'
#!/bin/sh
for a; do case $a in --benchmark_out=*) out=${a#*=} ;; esac; done
self=$(basename "$0") effect=0 extra=
case $self in slow*) effect=0.05 ;; little*) effect=0.005 ;; fast*) effect=-0.05 ;; esac
calls=$(cat "$0.calls" 2>/dev/null || echo 0)
echo $((calls + 1)) >"$0.calls"
[ "$self" != dies ] || [ "$calls" -lt 3 ] || kill -9 $$
[ "$self" != fails ] || extra=', "error_occurred": true'
awk -v n="$calls" -v e=$effect -v side="$self" -v extra="$extra" 'BEGIN {
    srand(n * 2 + (side != "base") + 77); u = 0
    for (i = 0; i < 12; i++) u += rand()
    t = 100 * (1 + e) * (1 + 0.01 * (u - 6))
    print "{\"context\": {\"host_name\": \"rig\"}, \"benchmarks\": ["
    printf "{\"name\": \"kernel/1\", \"real_time\": %.9f, \"time_unit\": \"ns\", \"allocs_per_iter\": %d%s}",
        t, side == "allocates" ? 4 : 3, extra
    if (side != "lacks") print ", {\"name\": \"kernel/2\", \"real_time\": 5, \"time_unit\": \"ns\"}"
    print "]}"
}' >"$out"
END
chmod +x "$tmp/bench"
for b in base same slow little fast dies fails lacks allocates; do cp "$tmp/bench" "$tmp/$b"; done
gate() { # CANDIDATE OPTIONS...: on this shared machine load is no reason to stop
    candidate=$1
    shift
    rm -f "$tmp"/*.calls
    (cd "$tmp" && "$saemark" track gate ./base "./$candidate" --max-load 1000 --drift 0 --seed 1 "$@")
}
expect 0 "A/A" gate same
expect 2 "+5 %" gate slow
grep -q "kernel/1:real_time .*regression" "$tmp/out" || bad "the slow benchmark is not named"
grep -q "kernel/2:real_time .*equivalent" "$tmp/out" || bad "the other one is not equivalent"
grep -q '"status": 2' "$tmp/saemark-gate.json" || bad "the verdict as JSON"
grep -q '"in_turns": 0' "$tmp/saemark-gate.json" || bad "programs that take no turns"
expect 3 "programs that do" sh -c 'cd "$1" && "$2" track gate "$2" "$2" --max-load 1000 --drift 0 --pairs 2 \
    --args "bench --benchmark_min_time=1x --benchmark_repetitions=2" --filter "^kernel/sum/d:512/"' sh "$tmp" "$saemark"
grep -q '"in_turns": 2' "$tmp/saemark-gate.json" || bad "they took none"
gate little >"$tmp/out" 2>"$tmp/err"
case $? in 0 | 3) ok ;; *) bad "+0.5 %: $(cat "$tmp/out")" ;; esac
expect 0 "-5 %" gate fast
grep -q "improvement" "$tmp/out" || bad "the improvement is not named"
expect 3 "five pairs tell nothing" gate same --pairs 5
expect 6 "the candidate dies" gate dies
grep -q "status 137" "$tmp/out" || bad "how it died: $(cat "$tmp/out")"
expect 6 "the candidate's benchmark fails" gate fails --pairs 8
expect 6 "a benchmark is missing" gate lacks --pairs 8
expect 2 "one allocation more" gate allocates --pairs 8
expect 1 "no such program" gate nobody
printf '#!/bin/sh\nsleep 60 &\nexec ./same "$@"\n' >"$tmp/leaves"
chmod +x "$tmp/leaves"
expect 3 "what a program leaves behind is not waited for" timeout 30 sh -c \
    'cd "$1" && rm -f *.calls && "$2" track gate ./base ./leaves --max-load 1000 --drift 0 --pairs 2' sh "$tmp" "$saemark"
for seed in 1 2 3; do # whichever comes first
    expect 1 "both fail" sh -c 'cd "$1" && "$2" track gate false false --max-load 1000 --drift 0 --seed '$seed \
        sh "$tmp" "$saemark"
done
expect 1 "the base dies" sh -c 'cd "$1" && rm -f *.calls && "$2" track gate ./dies ./same --max-load 1000 --drift 0' \
    sh "$tmp" "$saemark"
# A machine that is not quiet: something else keeps a processor busy.
sh -c 'while :; do :; done' &
load=$!
printf '#!/bin/sh\nsleep 0.3\nexec "%s" "$@"\n' "$tmp/bench" >"$tmp/sleepy"
chmod +x "$tmp/sleepy"
expect 4 "a busy machine" sh -c 'cd "$1" && "$2" track gate ./sleepy ./sleepy --max-load 0.2 --drift 0' \
    sh "$tmp" "$saemark"
kill $load
wait $load 2>/dev/null
grep -q "other programs used" "$tmp/out" || bad "why: $(cat "$tmp/out")"
# The gate answers an alert: two runs in the store, the alert refuted.
"$tmp/base" --benchmark_out="$tmp/night-k.json"
expect 0 "nights of a kernel" sh -c 'cd "$1" && i=0 && while [ $i -lt 10 ]; do
    sed "s/\"real_time\": 5,/\"real_time\": $((5 + i / 9)),/" night-k.json >k.json || exit 1
    "$2" track import k.json --git fee$i --commit-time $((1700000000 + i)) --db k.db || exit 1
    i=$((i + 1)); done' sh "$tmp" "$saemark"
expect 2 "one night is suspect" "$saemark" track analyse --db "$tmp/k.db"
expect 0 "the gate refutes it" gate same --db k.db --alert 1 --base-git fee8 --candidate-git fee9
expect 0 "nothing is open" "$saemark" track analyse --db "$tmp/k.db"

# ---- the quality gate: one plan, run, repeated, changed ----
cat >"$tmp/tiny.yaml" <<'END'
name: tiny
dataset: synthetic:d=16,features=32,l0=3
steps: 40
batch: 128
eval_rows: 1024
saes:
  - spec: topk:k=3,n=32
seeds: [1, 2]
metrics: [reconstruction, sparsity]
END
quality() { (cd "$tmp" && "$saemark" track quality "$@"); }
expect 0 "a run" "$saemark" run "$tmp/tiny.yaml" --out "$tmp/run-a" --no-report
expect 0 "the same run" "$saemark" run "$tmp/tiny.yaml" --out "$tmp/run-b" --no-report
expect 0 "A/A of quality" quality run-a run-b
expect 0 "a run into the store" "$saemark" track import "$tmp/run-a" --git abc --db "$tmp/q.db"
cp -r "$tmp/run-b" "$tmp/run-c"
printf 'x' | dd of="$(ls "$tmp"/run-c/saes/*/saemark.safetensors | head -n 1)" bs=1 seek=2000 conv=notrunc 2>/dev/null
expect 5 "one changed byte of an SAE" quality run-a run-c
grep -q "regression .*weights.sha256" "$tmp/out" || bad "the changed SAE is not named"
expect 0 "bits may differ" quality run-a run-c --no-hash
cp -r "$tmp/run-b" "$tmp/run-d"
awk -F, -v OFS=, '/"reconstruction.fvu"/ { for (i = 1; i <= NF; i++) if ($i == "\"reconstruction.fvu\"") $(i + 1) *= 1.01 } 1' \
    "$tmp/run-b/metrics.csv" >"$tmp/run-d/metrics.csv"
expect 5 "1 % more error" quality run-a run-d
expect 0 "1 % less error" quality run-d run-a
grep -v '"reconstruction.fvu"' "$tmp/run-b/metrics.csv" >"$tmp/run-d/metrics.csv"
expect 6 "a metric is missing" quality run-a run-d
expect 1 "not a run" quality run-a "$tmp"
