/* tests/kern/kern.h - harness of the kernel tests.
 *
 * A case allocates its inputs and outputs from the harness and hands over a body that calls one
 * kernel and a check that looks at the outputs. The harness runs the body for every implementation
 * (ref; cpu at each instruction set; several devices as one) with poisoned workspaces, verifies
 * guards, padding and inputs bytewise, calls the check, and demands the same bytes from 2, 3 and 8
 * threads, and from several devices. With --bench the same body is timed.
 */
#ifndef SAE_TESTS_KERN_H
#define SAE_TESTS_KERN_H

#include <sae/backend.h>
#include <stdint.h>

typedef struct impl {
    const char *name;
    int is_ref, shares_host;
    int rounds; /* operands of products to bf16 */
    const sae_backend *be;
    sae_device *dev; /* of one thread */
    sae_kernels k;
} impl;

typedef struct kcase {
    int (*body)(const impl *im, void *ctx); /* returns the kernel's status */
    void (*check)(const impl *im, void *ctx); /* may be NULL */
    void *ctx;
    double flops, bytes; /* of one call, for --bench */
    int expect;          /* status expected */
} kcase;

/* ---- cases ---- */
/* Begin a case; 0 when --filter excludes it. The name appears in messages: "gemm nt 3x17x31". */
int kern_case(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void kern_run(const kcase *c);
void kern_run_apart(const kcase *c); /* body opens devices: not of what is several as one */
void kern_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const impl *kern_ref(void); /* the float reference */
int kern_benching(void);
/* A variable of the emulation (tests/emu); NULL where there is none. */
int *kern_emulated(const char *name);
/* With --cuda: how many calls the device has replayed; at what recordings fail from now on (0: not
 * at all), and 1 where that can be had: in the emulation. */
int64_t kern_replays(const sae_device *dev);
int kern_graphs_fail(int at);

/* ---- memory of a case: guarded, at an address that is not a multiple of 16, freed by the next
 * case. Contents at the call of kern_run are what every run starts from. ---- */
void *kern_in(size_t bytes);
void *kern_out(size_t bytes); /* filled with a pattern */
void *kern_temp(size_t bytes); /* unguarded, zeroed; for expectations */

/* ---- data ---- */
enum data { NORMAL, MIXTURE, INTEGERS, SPECIAL, ZEROS };
/* NORMAL: standard normal. MIXTURE: runs of zeros, ones, normals, huge, tiny, denormal, constant
 * and alternating values. INTEGERS: -3..3, so that sums are exact and ties abound. SPECIAL: few
 * distinct values with NaN, infinities, both zeros and denormals. ZEROS: of both signs. */
void kern_fill(float *p, int64_t rows, int64_t cols, int64_t ld, enum data kind);
uint32_t kern_random(uint32_t below); /* for data: a stream per case */
uint32_t kern_pick(uint32_t below);   /* for the choice of cases: not affected by --filter */
double *kern_widen(const float *p, int64_t rows, int64_t cols, int64_t ld); /* dense, temp */
double *kern_abs(const double *p, int64_t count);

/* An input and an output (not filled) matrix with padding. */
sae_cmat kern_matrix(int64_t rows, int64_t cols, enum data kind);
sae_mat kern_target(int64_t rows, int64_t cols);

/* ---- expectations ---- */
/* |got - want| <= bound elementwise; NaN agrees with NaN only. */
void kern_close(const char *what, const float *got, int64_t rows, int64_t cols, int64_t ld,
                const double *want, const double *bound);
void kern_same(const char *what, const void *got, const void *want, size_t bytes);
/* Bound of a sum of `terms` products with absolute sum s (T1 of the test plan): min(terms, 16) u s
 * for data of random sign, depth u s for structured data, where depth is the longest chain of
 * roundings of the implementation. */
double kern_t1(enum data kind, double terms, double depth, double s);
#define U24 0x1p-24

/* One code with room for cap entries, in out buffers. */
sae_code kern_code(int64_t B, int64_t n, int64_t cap);
/* A random sparse code with about k entries a row, in input buffers. */
sae_code kern_random_code(int64_t B, int64_t n, int64_t k, enum data kind);

/* ---- groups ---- */
void test_dense(void);
void test_encode(void);
void test_select(void);
void test_code(void);
void test_ranges(void);
void test_merge(void);
void test_rows(void);
void test_elementwise(void);
void test_linalg(void);
void test_pursuit(void);
void test_frozen(void);
void test_replay(void); /* with --cuda */
void test_share(void); /* with --cuda */

extern const int64_t kern_sizes[14]; /* small extents that hit every remainder */

#endif
