# saemark bench: lists, runs, reports, and answers bad input as the C++ library does.
expect 0 "bench --help" "$saemark" bench --help
grep -q -- '--benchmark_filter=<regex>' "$tmp/out" || bad "bench --help lists no flags of the harness"
expect 0 "bench lists" "$saemark" bench --benchmark_list_tests
for name in kernel/encode_topk/d:768/n:16384/B:4096/k:32 kernel/pursuit/d:2304/n:36864 train/topk \
    eval/topk lm/forward/gpt2-124M/T:1024 lm/capture io/shards_write sweep/encode_topk/n/d:256/n:131072; do
    grep -q "^$name" "$tmp/out" || bad "bench lists no $name"
done
# Four sizes of everything that has one.
a=$(grep -c '^kernel/.*/d:512/' "$tmp/out") b=$(grep -c '^kernel/.*/d:2304/' "$tmp/out")
[ "$a" -gt 40 ] && [ "$a" = "$b" ] && ok || bad "$a kernels at d:512, $b at d:2304"

expect 0 "bench runs" "$saemark" bench --benchmark_filter='kernel/(residual|encode_topk)/d:512|io/csv_read' \
    --benchmark_min_time=1x --benchmark_out="$tmp/bench.json" --benchmark_ci_out="$tmp/bench-ci.json"
for file in bench bench-ci; do
    for key in flops_per_second bytes_per_second of_sgemm of_stream '"threads": "' '"flags": "-O' processor; do
        grep -q "$key" "$tmp/$file.json" || bad "$file.json has no $key"
    done
    [ "$(grep -c '"run_type": "iteration"' "$tmp/$file.json")" = 3 ] || bad "$file.json has not three rows"
done
grep -q error_occurred "$tmp/bench.json" && bad "$(grep error_message "$tmp/bench.json")" || ok

one_error "bench: unknown flag" "bench: unknown flags" "$saemark" bench --benchmark_fliter=x
grep -q 'error: unrecognized command-line flag: --benchmark_fliter=x$' "$tmp/err" || bad "no word of the flag"
one_error "bench: bad value" "a flag has a bad value" "$saemark" bench --benchmark_format=xml
one_error "bench: option of no command" "bench: no option --thread; did you mean --threads" \
    "$saemark" bench --thread 2
expect 0 "bench: bad regex" "$saemark" bench --benchmark_filter='('
grep -q '^Could not compile benchmark re: ' "$tmp/err" || bad "a bad regex is not named"
expect 0 "bench: no match" "$saemark" bench --benchmark_filter=nothing_of_it
grep -q '^Failed to match any benchmarks against regex: nothing_of_it$' "$tmp/err" || bad "no match is not said"
expect 1 "bench: a file that cannot be written" "$saemark" bench --benchmark_filter=io/hash \
    --benchmark_out=/no/such/dir/x.json
