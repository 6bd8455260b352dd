# Bisection: a repository whose programs say what their sources tell them to, so that no answer depends
# on this machine. `factor` is the time, `fvu` the quality, `noise` how unsteady the time is.
repo=$tmp/repo
git init -q -b main "$repo"
git -C "$repo" config user.name Ann
git -C "$repo" config user.email ann@example.org
cat >"$repo/build.sh" <<'END'
set -e
[ -z "${BUILD:-}" ] # it would mean another thing to a Makefile
mkdir -p build
git log -1 --format=%s >>../../builds
[ ! -e broken ] || exit 1
sed "s/@factor@/$(cat factor)/; s/@fvu@/$(cat fvu)/; s/@noise@/$(cat noise)/" program.in >build/program
chmod +x build/program
END
cat >"$repo/program.in" <<'END'
#!/bin/sh
# As a benchmark: two times; kernel/1 takes 100 ns * factor. As `run PLAN --out DIR`: a run directory.
if [ "$1" = run ]; then
    mkdir -p "$4"
    echo '{"dataset": {"hash": "d"}, "machine": {"host": "rig"}, "build": {"version": "0"},
        "finished": "2026-01-01T00:00:00Z"}' >"$4/run.json"
    printf 'spec,seed,hook,metric,value,count,unit\ns:k=1,0,h,reconstruction.fvu,@fvu@,10,1\n' >"$4/metrics.csv"
    printf 'spec,seed,id,lr\ns:k=1,0,s-0,0.1\n' >"$4/saes.csv"
    exit
fi
for a; do case $a in --benchmark_out=*) out=${a#*=} ;; esac; done
calls=$(cat "$0.calls" 2>/dev/null || echo 0)
echo $((calls + 1)) >"$0.calls"
awk -v n="$calls" -v noise=@noise@ 'BEGIN {
    t = 100 * @factor@
    if (noise == "even") t *= n % 2 ? 1.25 : 0.8 # half above, half below: 64 pairs tell, 20 do not
    if (noise == "odd") t *= n % 4 ? 0.8 : 1.2   # no number of pairs tells
    print "{\"context\": {\"host_name\": \"rig\"}, \"benchmarks\": ["
    printf "{\"name\": \"kernel/1\", \"real_time\": %.9f, \"time_unit\": \"ns\"},\n", t
    print "{\"name\": \"kernel/10\", \"real_time\": 5, \"time_unit\": \"ns\"}]}"
}' >"$out"
END
echo build >"$repo/.gitignore"

when=1700000000
commit() { # SUBJECT FILE=VALUE... or -FILE
    subject=$1
    shift
    for change; do
        case $change in
        -*) rm "$repo/${change#-}" ;;
        *) echo "${change#*=}" >"$repo/${change%%=*}" ;;
        esac
    done
    when=$((when + 100))
    git -C "$repo" add -A
    GIT_AUTHOR_DATE="$when +0000" GIT_COMMITTER_DATE="$when +0000" \
        git -C "$repo" commit -q --allow-empty -m "$subject"
    git -C "$repo" tag "$subject"
}
sha() { git -C "$repo" rev-parse "$1"; }
commit start factor=1 fvu=0.5 noise=none
commit docs
commit lost broken=yes
commit mended -broken
commit slow factor=1.06
commit unsteady noise=even
commit slower factor=1.2 noise=none
commit more
commit hopeless factor=1.5 noise=odd
commit slowest noise=none
git -C "$repo" checkout -q -b side
commit aside
commit astray factor=2
git -C "$repo" checkout -q main
commit other docs=yes
git -C "$repo" merge -q --no-commit side >/dev/null 2>&1
commit merged
commit end
commit fast factor=1
commit after
commit worse fvu=0.6
commit last

bisect() { # ARGUMENTS...
    (
        export REPO="$repo" BUILD='sh build.sh' PROGRAM=build/program ARGS='' BISECT="$tmp/bisect"
        export GATE='--max-load 1000 --drift 0' FILTER='^kernel/' SAEMARK="${judge:-$saemark}"
        export DB="${db:-}" PLAN="${plan:-}"
        scripts/bisect "$@"
    )
}
found() { # SUBJECT
    grep -q "^$(sha "$1") is the first commit with the change" "$tmp/out" && ok ||
        bad "not $1: $(cat "$tmp/out" "$tmp/err")"
}
told() { # PATTERN
    grep -q -e "$1" "$tmp/out" && ok || bad "no '$1' in: $(cat "$tmp/out")"
}

# ---- between two commits ----

state() { git -C "$repo" status --porcelain=v2 --branch && git -C "$repo" worktree list && git -C "$repo" for-each-ref; }
state >"$tmp/before"
expect 0 "a slow commit, past one that does not build" bisect start slow
found slow
told "^skip: .* lost$"
told "^Ann, 2023-11-14: slow$"
state >"$tmp/after"
same "the repository is as it was" "$tmp/before" "$tmp/after"
expect 0 "one that takes 64 pairs" bisect slow more
found slower
told "^64 pairs"
told "^old: .* unsteady$"
expect 3 "one that no number of pairs settles" bisect more slowest
told "^one of these"
told "^[0-9a-f]* Ann, 2023-11-14: hopeless$"
told "^[0-9a-f]* Ann, 2023-11-14: slowest$"
expect 0 "a merge" bisect slowest end
found merged
hint=$(sed -n 's/^a merge; what it merged: scripts.bisect //p' "$tmp/out")
# shellcheck disable=SC2086 # words
expect 0 "what it merged" bisect $hint
found astray
expect 0 "an improvement" bisect end after
found fast
expect 3 "no difference" bisect start mended
told "^no difference"
expect 3 "an end that does not build" bisect lost slow
told "^$(sha lost) does not build"
plan=plan.yaml
expect 0 "quality" bisect after last
found worse
plan=
expect 1 "no such commit" bisect start nowhere
expect 1 "the wrong way round" bisect slow start
expect 1 "one commit" bisect

# ---- interrupted: killed, then a machine that is not quiet; the ends are built once ----

cat >"$tmp/judge" <<END
#!/bin/sh
if [ "\$2" = gate ]; then
    echo >>"$tmp/gates"
    case \$(wc -l <"$tmp/gates") in
    2) kill -9 \$PPID ;;
    [345]) exit 4 ;;
    esac
fi
exec "$saemark" "\$@"
END
chmod +x "$tmp/judge"
judge=$tmp/judge
rm "$tmp/builds"
expect 137 "killed" bisect start slow
expect 4 "not quiet three times" bisect start slow
expect 0 "and on" bisect start slow
found slow
[ "$(grep -c '^start$' "$tmp/builds")" = 1 ] && ok || bad "built again: $(cat "$tmp/builds")"
judge=

# ---- alerts ----

nights() { # DB COMMIT COMMIT: nine nights at the first, then one at the second, 6 % slower
    db=$tmp/$1
    git -C "$repo" log --reverse --first-parent --format='%H %P %ct' |
        "$saemark" track commits - --db "$db" >/dev/null || return 1
    for night in 1 2 3 4 5 6 7 8 9 10; do
        [ $night -lt 10 ] && at=$2 t=100.0$night || at=$3 t=106
        echo '{"context": {"host_name": "rig"}, "benchmarks": [{"name": "kernel/1", "time_unit": "ns",
            "real_time": '$t'}]}' >"$tmp/night.json"
        "$saemark" track import "$tmp/night.json" --git "$(sha "$at")" --db "$db" >/dev/null || return 1
    done
    "$saemark" track analyse --db "$db"
}
alert() { "$saemark" track alert "$@" --db "$db"; }
expect 2 "a slow night" nights slow.db start slow
expect 0 "the alert" bisect 1
found slow
grep -q "kernel/10" "$tmp/out" && bad "more than the alert's series: $(cat "$tmp/out")" || ok
expect 0 "what is known now" alert 1
told "^ *1  confirmed  *regression  *$(sha mended | cut -c 1-12)\.\.$(sha slow | cut -c 1-12) .* by Ann$"
told "saemark:  *after $(sha mended | cut -c 1-12), up to $(sha slow | cut -c 1-12)$"
expect 0 "as JSON" alert 1 --json
told '"owner": "Ann"'
told '"confirmed": 1'
expect 2 "it stays open" "$saemark" track analyse --db "$db"
expect 0 "again, now that it is one commit" bisect 1
found slow
expect 2 "another slow night" nights none.db start docs
expect 3 "which was none" bisect 1
expect 0 "nothing is open" "$saemark" track analyse --db "$db"
expect 1 "a range outside" alert 1 --range "$(sha docs)..$(sha slow)"
expect 1 "half a range" alert 1 --range "$(sha docs)"

trained() { # COMMIT FVU
    sed "s/@fvu@/$2/" "$repo/program.in" >"$tmp/program"
    sh "$tmp/program" run plan.yaml --out "$tmp/trained"
    "$saemark" track import "$tmp/trained" --git "$(sha "$1")" --db "$db" >/dev/null
}
db=$tmp/quality.db
git -C "$repo" log --reverse --first-parent --format='%H %P %ct' | "$saemark" track commits - --db "$db" >/dev/null
trained after 0.5
trained last 0.6
expect 5 "worse quality" "$saemark" track analyse --db "$db"
expect 0 "an alert of quality" bisect 1
found worse
expect 0 "confirmed" alert 1
told "^ *1  confirmed  *quality .* by Ann$"
db=
