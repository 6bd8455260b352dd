# A forced probe reaches the compiler, and the report of the probes.
for probe in CUDA MPI SECCOMP BLAS; do
    for answer in yes no; do # not with the settings of the make that runs the tests
        env -u MAKEFLAGS -u CONFIG make -n BUILD="$tmp/build" $probe=$answer "$tmp/build/release/obj/suite/core/build.o" 2>/dev/null |
            grep -q "SAE_${probe}_FOUND='\"$answer\"'" && ok || bad "make $probe=$answer does not reach the compiler"
    done
done
env -u MAKEFLAGS -u CONFIG make probes CUDA=no 2>/dev/null | grep -q '^CUDA *not found' && ok || bad "make probes does not say 'not found'"
expect 0 "make help" make -s help
