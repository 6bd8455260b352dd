# saemark - build, test, install. `make help` lists the targets.
#
# Out of tree: everything goes to $(BUILD)/$(CONFIG). No configure step: optional parts are probed,
# printed as found / not found, and each probe can be overridden (make CUDA=no).

# No built-in rules: they would try to make the dependency files from objects.
MAKEFLAGS += --no-builtin-rules
CONFIG ?= release
BUILD  ?= build
B      := $(BUILD)/$(CONFIG)
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
NVCC   ?= nvcc
PKG_CONFIG ?= pkg-config
WERROR ?= 1
V      ?= 0
Q      := $(if $(filter 1,$(V)),,@)
ARCH   := $(shell $(CC) -dumpmachine | cut -d- -f1)

# ---- probes: yes or no ---------------------------------------------------------------------------
HASH := \#
have   = $(shell printf '$(HASH)include <$(1)>\nint main(void){return 0;}\n' | $(CC) $(2) -x c - -o /dev/null $(3) >/dev/null 2>&1 && echo yes || echo no)
CUDA    ?= $(shell command -v $(NVCC) >/dev/null 2>&1 && echo yes || echo no)
MPI     ?= $(shell command -v mpicc >/dev/null 2>&1 && echo yes || echo no)
SECCOMP ?= $(call have,seccomp.h,,-lseccomp)
PFM     ?= $(call have,perfmon/pfmlib_perf_event.h,-D_GNU_SOURCE,-lpfm)
BLAS    ?= $(call have,cblas.h,$(shell $(PKG_CONFIG) --cflags openblas 2>/dev/null),-lopenblas)

# ---- flags -----------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes \
        -Wmissing-prototypes -Wundef -Wvla $(if $(filter 1,$(WERROR)),-Werror)
PKGS := jansson libcyaml libpcre2-8 libutf8proc libxxhash libcrypto lapacke sqlite3 zlib
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
LIBS := -lcsv $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lm -ldl
ifeq ($(BLAS),yes)
BLAS_CFLAGS := -DSAE_HAVE_OPENBLAS=1 $(shell $(PKG_CONFIG) --cflags openblas 2>/dev/null)
# The yardstick of saemark bench; the kernels' products are their own, fused with selection.
BLAS_LIBS := -lopenblas
endif
ifeq ($(PFM),yes)
PFM_CFLAGS := -DSAE_BENCH_HAVE_PFM=1
PFM_LIBS   := -lpfm
endif
GIT_ID := $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)

OPT_release := -O2 -g1
OPT_debug   := -O0 -g3
OPT_asan    := -O1 -g3 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT := $(OPT_$(CONFIG))
SAN := $(filter -fsanitize=%,$(OPT))
BASE   := -std=c11 -D_POSIX_C_SOURCE=200809L -fopenmp -fvisibility=hidden $(WARN) $(OPT) -MMD -MP
LDFLAGS += -fopenmp $(SAN)

# The -I paths of a folder are the folders it may include: the direction of dependencies.
INC_ABI   := -Isuite/include
INC_SUITE := $(INC_ABI) -Isuite
FLAGS_include  := $(INC_ABI)
FLAGS_datasets := $(INC_ABI) -Idatasets
FLAGS_kernels  := $(INC_ABI) -Isuite/kernels $(PKG_CFLAGS)
FLAGS_suite    := $(INC_SUITE) $(PKG_CFLAGS)
# Suites and fuzz entry points are called by name from generated code: no prototypes.
FLAGS_tests    := $(INC_SUITE) -Itests -Isuite/kernels -Idatasets $(PKG_CFLAGS) -D_XOPEN_SOURCE=700 \
                  -Wno-missing-prototypes

# SIMD: one file per instruction set, chosen at run time; plain -O3 elsewhere.
ifneq ($(filter x86_64 amd64,$(ARCH)),)
simd = $(if $(filter %_avx512.c,$(1)),-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mprefer-vector-width=512,$(if $(filter %_avx2.c,$(1)),-mavx2 -mfma))
endif
kopt = $(if $(filter suite/kernels/ref/%,$(1)),-ffp-contract=off,$(if $(filter debug asan,$(CONFIG)),,-O3) -ffp-contract=fast -fno-math-errno -fno-trapping-math $(call simd,$(1)))

# ---- sources: found by name, never listed -----------------------------------------------------------
src = $(sort $(wildcard $(addsuffix /*.c,$(1))))
obj = $(patsubst %.c,$(2)/obj/%.o,$(1))
KREF  := $(call src,suite/kernels/ref)
KHOST := $(call src,suite/kernels/shared)
KCPU  := $(call src,suite/kernels/cpu)
KDIV  := $(call src,suite/kernels/divided)
CORE  := $(call src,suite/core)
# Components are the files named in the list; folders under datasets/ hold their parts.
COMPONENTS := $(call src,variants metrics datasets) $(sort $(wildcard datasets/*/*.c))
LIB   := $(CORE) $(KREF) $(KHOST) $(KCPU) $(KDIV) $(COMPONENTS) $(call src,suite/models suite/models/arch suite/train suite/eval suite/run suite/report suite/track)
CLI   := $(call src,suite/cli)
HARNESS := $(call src,suite/bench/harness)
CASES := $(call src,suite/bench/cases)
ASSETS := $(sort $(wildcard datasets/*/model/*.json datasets/*/model/*.safetensors suite/plans/*.yaml suite/track/*.sql reports/*.gp reports/sections/*.yaml reports/*.html reports/*.css))
LIBOBJ := $(call obj,$(LIB),$(B)) $(B)/gen/list.o $(B)/gen/assets.o

.PHONY: all check check-asan check-fast bench lint install clean help probes FORCE
.DEFAULT_GOAL := all
.SECONDARY:
FORCE:

all: $(B)/saemark $(if $(filter yes,$(CUDA)),$(B)/libsaemark-cuda.so) ## build the program (default)

probes: ## print what was found on this machine
	@printf '%-9s %-10s override: make %s=yes|no\n' OpenBLAS $(call found,$(BLAS)) BLAS \
	  CUDA $(call found,$(CUDA)) CUDA MPI $(call found,$(MPI)) MPI \
	  seccomp $(call found,$(SECCOMP)) SECCOMP libpfm $(call found,$(PFM)) PFM
found = $(if $(filter yes,$(1)),'found','not found')

# ---- generated: component list and embedded files -----------------------------------------------------
names = $(basename $(notdir $(sort $(wildcard $(1)/*.c))))
BACKENDS := $(patsubst suite/kernels/%/backend.c,%,$(sort $(wildcard suite/kernels/ref/backend.c suite/kernels/cpu/backend.c)))
define write_list
	@mkdir -p $(dir $@)
	@scripts/gen-list "$(strip $(call names,variants))" "$(strip $(call names,metrics))" "$(strip $(call names,datasets))" "$(strip $(1))" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
endef
$(B)/gen/list.c: FORCE
	$(call write_list,$(BACKENDS))
$(B)/gen/list64.c: FORCE
	$(call write_list,ref)
$(B)/gen/assets.c: FORCE
	@mkdir -p $(dir $@)
	@scripts/gen-assets $(ASSETS) > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/gen/assets.o: $(ASSETS)
$(B)/gen/flags.txt: FORCE
	@mkdir -p $(dir $@)
	@printf '%s\n' '$(CC) $(BASE) $(BLAS) $(CUDA) $(PFM)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# ---- compile ----------------------------------------------------------------------------------------
cc  = $(Q)mkdir -p $(dir $@) && $(CC) $(BASE) $(1) -c -o $@ $<
ifneq ($(V),1)
.SILENT:
endif

$(B)/gen/tests_%.o: $(B)/gen/tests_%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_tests))
$(B)/gen/%.o: $(B)/gen/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_suite))
$(B)/obj/variants/%.o: variants/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_include))
$(B)/obj/metrics/%.o: metrics/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_include))
$(B)/obj/datasets/%.o: datasets/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_datasets))
$(B)/obj/suite/kernels/%.o: suite/kernels/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_kernels) $(call kopt,$<))
$(B)/obj/suite/core/build.o: CFLAGS_BUILD = -DSAE_GIT_ID='"$(GIT_ID)"' -DSAE_CONFIG='"$(CONFIG)"' \
  -DSAE_CFLAGS='"$(OPT)"' -DSAE_CUDA_FOUND='"$(CUDA)"' -DSAE_MPI_FOUND='"$(MPI)"' -DSAE_SECCOMP_FOUND='"$(SECCOMP)"' -DSAE_BLAS_FOUND='"$(BLAS)"'
$(B)/obj/suite/core/build.o: $(B)/gen/git.txt
$(B)/gen/git.txt: FORCE
	@mkdir -p $(dir $@)
	@printf '%s\n' '$(GIT_ID)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
# The harness stands alone: no header of the suite but its own.
$(B)/obj/suite/bench/harness/%.o: suite/bench/harness/%.c $(B)/gen/flags.txt
	$(call cc,$(INC_ABI) $(PFM_CFLAGS))
$(B)/obj/suite/bench/%.o: suite/bench/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_suite) -Idatasets $(BLAS_CFLAGS))
# The loops of the language model carry their own run-time dispatch.
$(foreach d,$(B) $(B)/f64,$(addprefix $(d)/obj/suite/models/,lm_math.o lm_position.o lm_attention.o lm_attention_back.o)): \
  CFLAGS_BUILD = $(if $(filter debug asan,$(CONFIG)),,-O3) -ffp-contract=fast
$(B)/obj/suite/%.o: suite/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_suite) $(CFLAGS_BUILD))
$(B)/obj/tests/%.o: tests/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_tests))

$(B)/libsaemark.a: $(LIBOBJ)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
# The CUDA backend: an object of its own, opened at run time where it lies beside the program.
KCUDA := $(sort $(wildcard suite/kernels/cuda/*.cu))
# Code for Hopper, and what drivers turn into code for everything since Ampere.
CUDA_ARCH ?= -gencode arch=compute_90,code=sm_90 -gencode arch=compute_80,code=compute_80
$(B)/obj/%.cu.o: %.cu $(B)/gen/flags.txt
	$(Q)mkdir -p $(dir $@) && $(NVCC) -std=c++17 -O3 $(CUDA_ARCH) -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra \
	  --Werror all-warnings $(INC_ABI) -Isuite/kernels -MMD -MP -c -o $@ $<
$(B)/libsaemark-cuda.so: $(patsubst %,$(B)/obj/%.o,$(KCUDA))
	$(Q)$(NVCC) -shared -o $@ $^ -lcublas -lcusolver
# The same sources as C++ on the processor (tests/emu): what they compute is tested without a GPU.
EMUSRC := $(sort $(wildcard tests/emu/*.cc))
EMU_FLAGS := -std=c++17 -O2 -g1 -fPIC -fvisibility=hidden -ffp-contract=off -Wall -Wextra -Werror -Itests/emu $(INC_ABI) -Isuite/kernels
$(B)/emu/%.o: % $(B)/gen/flags.txt
	$(Q)mkdir -p $(dir $@) && $(CXX) $(EMU_FLAGS) -MMD -MP -x c++ -c -o $@ $<
$(B)/emu/libsaemark-cuda.so: $(patsubst %,$(B)/emu/%.o,$(KCUDA) $(EMUSRC))
	$(Q)$(CXX) -shared -o $@ $^ -llapacke
$(B)/libsaebench.a: $(call obj,$(HARNESS),$(B))
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(B)/saemark: $(call obj,$(CLI) $(CASES),$(B)) $(B)/libsaemark.a $(B)/libsaebench.a
	$(Q)$(CC) -o $@ $^ $(LDFLAGS) $(LIBS) $(PFM_LIBS) $(BLAS_LIBS)

# ---- the same sources with sae_real = double: gradients by finite differences ---------------------------
# Only what needs no float BLAS: core, reference kernels, components, language models.
B64 := $(B)/f64
SRC64 := $(CORE) $(KREF) $(KHOST) $(KDIV) $(COMPONENTS) $(filter-out %/capture.c,$(call src,suite/models)) $(call src,suite/models/arch)
OBJ64 := $(call obj,$(SRC64),$(B64)) $(B64)/gen/list64.o $(B64)/gen/assets.o
DOUBLE := -DSAE_REAL_IS_DOUBLE=1
$(B64)/libsaemark.a: $(OBJ64)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(B64)/gen/tests_%.o: $(B)/gen/tests_%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_tests) $(DOUBLE))
$(B64)/gen/%.o: $(B)/gen/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_suite) $(DOUBLE))
$(B64)/obj/variants/%.o: variants/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_include) $(DOUBLE))
$(B64)/obj/metrics/%.o: metrics/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_include) $(DOUBLE))
$(B64)/obj/datasets/%.o: datasets/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_datasets) $(DOUBLE))
$(B64)/obj/suite/kernels/%.o: suite/kernels/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_kernels) $(DOUBLE) $(call kopt,$<))
$(B64)/obj/suite/core/build.o: CFLAGS_BUILD = -DSAE_GIT_ID='"test"' -DSAE_CONFIG='"f64"' -DSAE_CFLAGS='""' \
  -DSAE_CUDA_FOUND='""' -DSAE_MPI_FOUND='""' -DSAE_SECCOMP_FOUND='""' -DSAE_BLAS_FOUND='""'
$(B64)/obj/suite/%.o: suite/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_suite) $(DOUBLE) $(CFLAGS_BUILD))
$(B64)/obj/tests/%.o: tests/%.c $(B)/gen/flags.txt
	$(call cc,$(FLAGS_tests) $(DOUBLE))

# ---- tests: one Check program per folder; every tests/DIR/x.c defines Suite *suite_x(void) --------------
CHECK_LIBS := $(shell $(PKG_CONFIG) --libs check 2>/dev/null)
SUPPORT := $(call src,tests/support)
testsrc = $(call src,tests/$(1))
PROGRAMS32 := $(foreach d,prop golden train fault eval models track,$(if $(call testsrc,$(d)),$(d)))
PROGRAMS64 := $(foreach d,grad,$(if $(call testsrc,$(d)),$(d)))
FUZZERS := $(call names,tests/fuzz)
FUZZERS := $(filter fuzz_%,$(FUZZERS))
TESTS := $(addprefix $(B)/tests/,$(PROGRAMS32) $(PROGRAMS64) $(if $(call testsrc,kern),kern) \
         $(if $(call testsrc,bench),bench)) \
         $(addprefix $(B)/tests/,$(FUZZERS))

$(B)/gen/tests_%.c: FORCE
	@mkdir -p $(dir $@)
	@scripts/gen-tests $(call names,tests/$*) > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
define test_program
$(B)/tests/$(1): $(call obj,$(call testsrc,$(1)) $(SUPPORT),$(2)) $(2)/gen/tests_$(1).o $(2)/libsaemark.a
	$$(Q)mkdir -p $$(dir $$@) && $$(CC) -o $$@ $$^ $$(LDFLAGS) $$(LIBS) $$(CHECK_LIBS)
endef
$(foreach d,$(PROGRAMS32),$(eval $(call test_program,$(d),$(B))))
$(foreach d,$(PROGRAMS64),$(eval $(call test_program,$(d),$(B64))))
# allocations.c makes them fail, those of the families too, which call the C library.
$(B)/tests/eval: private LDFLAGS += $(foreach f,malloc calloc posix_memalign free,-Xlinker --wrap=$(f))
# The kernel harness has its own main and links the double reference beside the float kernels.
$(B)/tests/kern: $(call obj,$(call testsrc,kern),$(B)) $(B)/libsaemark.a \
                 $(filter-out %/backend.o,$(call obj,$(KREF),$(B64)))
	$(Q)mkdir -p $(dir $@) && $(CC) -o $@ $^ $(LDFLAGS) $(LIBS)
# The harness, and the programs that its tests run: one per library where the other is installed.
TWINS := $(B)/tests/twin $(B)/tests/clockwork $(if $(shell printf '$(HASH)include <benchmark/benchmark.h>\nint main(){return benchmark::CPUInfo::Get().num_cpus==0;}\n' | \
           $(CXX) -std=c++17 -x c++ - -o /dev/null -lbenchmark -lpthread >/dev/null 2>&1 && echo yes),$(B)/tests/twin-cxx)
$(B)/tests/bench: $(call obj,$(call testsrc,bench) $(SUPPORT),$(B)) $(B)/gen/tests_bench.o $(B)/libsaebench.a $(B)/libsaemark.a | $(TWINS)
	$(Q)mkdir -p $(dir $@) && $(CC) -o $@ $^ $(LDFLAGS) $(LIBS) $(PFM_LIBS) $(CHECK_LIBS)
TWIN_OBJ := $(B)/obj/tests/bench/twin/work.o
$(B)/tests/twin $(B)/tests/clockwork: $(B)/tests/%: $(B)/obj/tests/bench/twin/%.o $(TWIN_OBJ) $(B)/libsaebench.a
	$(Q)mkdir -p $(dir $@) && $(CC) -o $@ $^ $(LDFLAGS) -lm -lpthread $(PFM_LIBS)
$(B)/tests/twin-cxx: tests/bench/twin/twin.cc $(TWIN_OBJ)
	$(Q)mkdir -p $(dir $@) && $(CXX) -std=c++17 -O2 $(SAN) -o $@ $^ -lbenchmark -lpthread
$(B)/tests/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay.o $(B)/libsaemark.a
	$(Q)mkdir -p $(dir $@) && $(CC) -o $@ $^ $(LDFLAGS) $(LIBS)

# Plug-ins are built as a user would build them: against the public headers alone.
PLUGINS := $(patsubst %,$(B)/tests/plugin/%.so,$(call names,tests/plugin))
$(B)/tests/plugin/%.so: tests/plugin/%.c $(B)/gen/flags.txt
	$(Q)mkdir -p $(dir $@) && $(CC) -std=c11 -shared -fPIC -O2 -g $(WARN) $(INC_ABI) -MMD -MP -o $@ $<

check: all $(TESTS) $(PLUGINS) $(if $(EMU),$(B)/emu/libsaemark-cuda.so) ## build and run every test; ends with "N passed, N failed"
	@EMU=$(EMU) tests/run $(B) $(CONFIG)
check-asan: ## the same under address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory CONFIG=asan check
lint: $(call obj,$(COMPONENTS),$(B)) ## style, headers, include directions
	@tests/lint/run $(B)

# Coverage-guided fuzzing with clang's libFuzzer: make fuzz-spec; corpora live in tests/fuzz/corpus.
# clang warns of other things than gcc and may lack its OpenMP library: no -Werror, one thread.
fuzz-%: ## fuzz one parser for FUZZ_SECONDS (clang, libFuzzer)
	$(Q)$(MAKE) --no-print-directory CC=clang WERROR=0 CONFIG=fuzz OPT_fuzz='-O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-openmp -Wno-unknown-pragmas' $(BUILD)/fuzz/libsaemark.a
	$(Q)clang -g -fsanitize=address,undefined,fuzzer $(FLAGS_tests) -o $(BUILD)/fuzz/fuzz-$* tests/fuzz/fuzz_$*.c $(BUILD)/fuzz/libsaemark.a $(LIBS) -lgomp
	$(Q)mkdir -p $(BUILD)/fuzz/corpus-$* && $(BUILD)/fuzz/fuzz-$* -max_total_time=$(or $(FUZZ_SECONDS),60) $(BUILD)/fuzz/corpus-$* tests/fuzz/corpus/$*

# ---- benchmarks ------------------------------------------------------------------------------------
BENCHES := $(addprefix $(B)/bench/,$(call names,suite/bench))
$(B)/bench/%: $(B)/obj/suite/bench/%.o $(B)/libsaemark.a
	$(Q)mkdir -p $(dir $@) && $(CC) -o $@ $^ $(LDFLAGS) $(LIBS) $(BLAS_LIBS)
bench: all $(BENCHES) ## time everything, or make bench BENCH=--benchmark_filter=REGEX
	@$(B)/saemark bench $(BENCH)

# ---- install ---------------------------------------------------------------------------------------
install: all $(B)/libsaebench.a ## install to $(PREFIX): program, headers, harness, completion
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/sae $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(B)/saemark $(DESTDIR)$(PREFIX)/bin/saemark
	[ ! -f $(B)/libsaemark-cuda.so ] || install -D -m 755 $(B)/libsaemark-cuda.so $(DESTDIR)$(PREFIX)/lib/saemark/libsaemark-cuda.so
	install -m 644 $(B)/libsaebench.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 suite/include/sae/*.h $(DESTDIR)$(PREFIX)/include/sae/
	install -m 644 scripts/saemark.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/saemark

clean: ## remove build outputs
	rm -rf $(BUILD)
help: ## list the targets
	@sed -n 's/^\([a-z%-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'
	@printf '\nVariables: CONFIG=release|debug|asan BUILD=dir CC= V=1 WERROR=0 PREFIX= BLAS= CUDA= MPI= SECCOMP= PFM=\n'

-include $(shell find $(B) -name '*.d' 2>/dev/null)
