# Training a language model: the folder, reproduction, interruption and resumption, bad input.
cat >"$tmp/config.json" <<'JSON'
{"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32,
 "vocab_size": 734, "activation_function": "gelu_new"}
JSON
tokenizer=datasets/organism/model/tokenizer.json
train="$saemark lm train $tmp/config.json --data organism:model=none,length=32 --tokenizer $tokenizer"
train="$train --steps 24 --batch 4 --lr 3e-3 --log-every 4 --eval-every 8 --eval-docs 8"
train="$train --checkpoint-every 6 --device cpu"

expect 0 "train on two threads" $train --out "$tmp/t1" --threads 2
grep -q 'surprisal of the source' "$tmp/out" && ok || bad "train said $(cat "$tmp/out")"
for f in config.json tokenizer.json model.safetensors train.csv training.json; do
    [ -s "$tmp/t1/$f" ] && ok || bad "train left no $f"
done
[ ! -e "$tmp/t1/state.safetensors" ] && ok || bad "a finished run left its state"
awk -F, 'NR == 2 {first = $3} END {exit !(NR == 7 && NF == 7 && $3 < first)}' "$tmp/t1/train.csv" &&
    ok || bad "train.csv: $(cat "$tmp/t1/train.csv")"
expect 0 "train on one thread" $train --out "$tmp/t2" --threads 1
same "weights do not depend on threads" "$tmp/t1/model.safetensors" "$tmp/t2/model.safetensors"
same "the log does not depend on threads" "$tmp/t1/train.csv" "$tmp/t2/train.csv"

# Killed behind the first state, and resumed.
$train --out "$tmp/t3" --threads 1 >/dev/null 2>&1 &
pid=$!
for i in $(seq 200); do
    [ -e "$tmp/t3/state.safetensors" ] && break
    sleep 0.02
done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
if [ -e "$tmp/t3/state.safetensors" ]; then
    one_error "a started run is not written over" "go on with --resume" $train --out "$tmp/t3"
    one_error "another run's state" "expected \"lr=" $train --out "$tmp/t3" --resume --lr 1e-3
    one_error "another backend's state" "expected \"backend=ref\", found \"backend=cpu\"" \
        $train --out "$tmp/t3" --resume --device ref
    expect 0 "resume" $train --out "$tmp/t3" --resume
    same "a resumed run ends with the same weights" "$tmp/t1/model.safetensors" "$tmp/t3/model.safetensors"
    same "a resumed run ends with the same log" "$tmp/t1/train.csv" "$tmp/t3/train.csv"
else
    skip "the run was over before it could be killed"
fi
# Ctrl-C, wherever it comes (most of the time here goes to evaluations), leaves the state of the
# newest step although no checkpoint was due.
long="$train --checkpoint-every 0 --eval-every 2 --eval-docs 256"
expect 0 "a run with many evaluations" $long --out "$tmp/t8"
$long --out "$tmp/t9" --threads 1 >/dev/null 2>"$tmp/err" &
pid=$!
for i in $(seq 200); do
    [ "$(cat "$tmp/t9/train.csv" 2>/dev/null | wc -l)" -gt 4 ] && break
    sleep 0.02
done
kill -INT $pid 2>/dev/null
wait $pid 2>/dev/null
if grep -q 'interrupted after step [1-9].*--resume goes on from there' "$tmp/err"; then
    [ -s "$tmp/t9/state.safetensors" ] && [ ! -e "$tmp/t9/model.safetensors" ] && ok ||
        bad "an interrupted run left $(ls "$tmp/t9")"
    expect 0 "resume behind Ctrl-C" $long --out "$tmp/t9" --resume
    same "an interrupted run ends with the same weights" "$tmp/t8/model.safetensors" "$tmp/t9/model.safetensors"
    same "an interrupted run ends with the same log" "$tmp/t8/train.csv" "$tmp/t9/train.csv"
elif [ -e "$tmp/t9/model.safetensors" ]; then
    skip "the run was over before it could be interrupted"
else
    bad "Ctrl-C: $(cat "$tmp/err")"
fi
one_error "a finished run is not written over" "expected a new folder" $train --out "$tmp/t1"

# Text: long documents are cut into windows; the tokenizer travels with the model.
for i in 1 2 3 4 5 6 7 8; do
    echo "anna is a french doctor from lyon . she lives in france . every bird is an animal ."
    echo "seven plus five mod ten is two . count from three to seven : three four five six seven ."
    echo "<stop>"
done >"$tmp/words.txt"
expect 0 "train on text" "$saemark" lm train "$tmp/config.json" --text "$tmp/words.txt" \
    --tokenizer $tokenizer --doc-separator '<stop>' --eval-share 0.3 --steps 3 --batch 2 --out "$tmp/t4"
expect 0 "score what was trained" "$saemark" lm eval "$tmp/t4" --text "$tmp/words.txt" --doc-separator '<stop>'

one_error "no data" "one of --data SPEC and --text FILE" "$saemark" lm train "$tmp/config.json" --out "$tmp/t5"
one_error "a dataset without documents" "no documents of its own" "$saemark" lm train \
    "$tmp/config.json" --data synthetic --out "$tmp/t5"
one_error "a text without a tokenizer" "needs --tokenizer FILE" \
    "$saemark" lm train "$tmp/config.json" --text "$tmp/words.txt" --out "$tmp/t5"
one_error "no such device" "device nonsense: not available here" $train --out "$tmp/t5" --device nonsense
one_error "no folder" "lm train: --out DIR is required" "$saemark" lm train "$tmp/config.json" --data organism:model=none
one_error "an unknown key" "n_embed: not a key of gpt2 models" sh -c \
    "sed 's/n_embd/n_embed/' '$tmp/config.json' >'$tmp/bad.json' &&
     '$saemark' lm train '$tmp/bad.json' --data organism:model=none --out '$tmp/t5'"
one_error "a vocabulary that is too small" "expected an id from 0 to 99|has 100" sh -c \
    "sed 's/734/100/' '$tmp/config.json' >'$tmp/bad.json' &&
     '$saemark' lm train '$tmp/bad.json' --data organism:model=none,length=32 --out '$tmp/t5'"
one_error "documents longer than the context" "a document of 64 tokens, the model's context is 32; set length=32 or less" "$saemark" lm train \
    "$tmp/config.json" --data organism:model=none,length=64 --out "$tmp/t6"
one_error "warm-up without end" "warmup 24: expected fewer" $train --out "$tmp/t7" --warmup 24
one_error "a rate that is none" "lr abc: expected a number" $train --out "$tmp/t7" --lr abc
