# A forced probe reaches the compiler, and the report of the probes. Each probe has its own answers;
# the settings of the make that runs the tests are kept out.
for forced in 'CUDA=no MPI=no SECCOMP=no BLAS=yes' 'CUDA=no MPI=yes SECCOMP=yes BLAS=no' \
    'CUDA=yes MPI=no SECCOMP=yes BLAS=no'; do
    env -u MAKEFLAGS -u CONFIG make -n BUILD="$tmp/build" $forced "$tmp/build/release/obj/suite/core/build.o" >"$tmp/out" 2>/dev/null
    for probe in $forced; do
        grep -q "SAE_${probe%=*}_FOUND='\"${probe#*=}\"'" "$tmp/out" && ok || bad "make $forced: $probe does not reach the compiler"
    done
done
env -u MAKEFLAGS -u CONFIG make probes CUDA=no 2>/dev/null | grep -q '^CUDA *not found' && ok || bad "make probes does not say 'not found'"
expect 0 "make help" make -s help
