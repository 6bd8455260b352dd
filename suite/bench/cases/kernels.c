/* suite/bench/cases/kernels.c - every kernel of the table at the sizes of the papers.
 *
 * Flops are those that the result needs, bytes those that must move between memory and processor
 * at least once. Pursuits are the exception: theirs are the 2 n d for every step of a row that a
 * direct implementation computes, so that more than the machine can do was saved.
 */
#include "bench/cases/work.h"

#include <math.h>
#include <string.h>

typedef struct cost {
    double flops, bytes;
} cost;

typedef struct job {
    sae_work *w;
    const sae_kernels *k;
    sae_device *dev;
    double d, n, B, kk; /* the shape as numbers */
    cost cost;
    int which;          /* of map, pursuit, keys of selections */
    int (*run)(struct job *j);
} job;

#define GET(slot) sae_work_get(j->w, slot)
#define SHAPE (j->w->s)
#define MAT_BN(slot) sae_matrix_in(GET(slot), SHAPE.B, SHAPE.n)
#define MAT_BD(slot) sae_matrix_in(GET(slot), SHAPE.B, SHAPE.d)
#define MAT_ND(slot) sae_matrix_in(GET(slot), SHAPE.n, SHAPE.d)
#define OUT_BN(slot) sae_matrix_out(GET(slot), SHAPE.B, SHAPE.n)
#define OUT_BD(slot) sae_matrix_out(GET(slot), SHAPE.B, SHAPE.d)
#define OUT_ND(slot) sae_matrix_out(GET(slot), SHAPE.n, SHAPE.d)
#define COST(f, b) (j->cost = (cost){(f), (b)})

/* ---- dense ----------------------------------------------------------------------------------- */

static double product(const job *j)
{
    return 2 * j->B * j->n * j->d;
}

static double operands(const job *j)
{
    return 4 * (j->B + j->n) * j->d;
}

static int run_gemm(job *j)
{
    COST(product(j), operands(j) + 4 * j->B * j->n);
    return j->k->gemm(j->dev, 0, 1, 1, MAT_BD(SLOT_X), MAT_ND(SLOT_W), 0, OUT_BN(SLOT_DENSE_OUT));
}

static int run_shift_rows(job *j)
{
    COST(j->B * j->n, 8 * j->B * j->n);
    return j->k->shift_rows(j->dev, MAT_BN(SLOT_DENSE_A), 1, GET(SLOT_BIAS_N),
                            OUT_BN(SLOT_DENSE_OUT));
}

static int run_col_sum(job *j)
{
    COST(j->B * j->n, 4 * j->B * j->n);
    return j->k->col_sum(j->dev, MAT_BN(SLOT_DENSE_A), 1e-6f, GET(SLOT_BIAS_N));
}

static int run_gate(job *j)
{
    COST(0, 12 * j->B * j->n);
    return j->k->gate(j->dev, MAT_BN(SLOT_DENSE_A), MAT_BN(SLOT_DENSE_B), OUT_BN(SLOT_DENSE_OUT));
}

static int run_row_dot(job *j)
{
    COST(2 * j->B * j->n, 8 * j->B * j->n);
    return j->k->row_dot(j->dev, MAT_BN(SLOT_DENSE_A), MAT_BN(SLOT_DENSE_B), GET(SLOT_ROWS_DOUBLE));
}

static int run_sum(job *j)
{
    double total;
    COST(j->B * j->d, 8 * j->B * j->d);
    return j->k->sum(j->dev, SHAPE.B * SHAPE.d, GET(SLOT_LONG_DOUBLE), &total);
}

/* ---- encode and select ----------------------------------------------------------------------- */

static sae_encoder encoder(job *j)
{
    COST(product(j), operands(j) + 8 * j->B * j->kk);
    return (sae_encoder){.x = MAT_BD(SLOT_X), .shift = NULL, .w = MAT_ND(SLOT_W)};
}

static int run_encode_topk(job *j)
{
    sae_encoder e = encoder(j);
    return j->k->encode_topk(j->dev, &e, (enum sae_key)j->which, SHAPE.k, sae_work_made(j->w));
}

static int run_encode_flat_topk(job *j)
{
    sae_encoder e = encoder(j);
    return j->k->encode_flat_topk(j->dev, &e, (enum sae_key)j->which, SHAPE.k * SHAPE.B,
                                  sae_work_made(j->w));
}

static int run_encode_threshold(job *j)
{
    sae_encoder e = encoder(j);
    return j->k->encode_threshold(j->dev, &e, (enum sae_key)j->which, sae_work_bound(j->w), NULL,
                                  sae_work_made(j->w));
}

static int run_encode_dense(job *j)
{
    sae_encoder e = encoder(j);
    COST(product(j), operands(j) + 4 * j->B * j->n);
    return j->k->encode_dense(j->dev, &e, OUT_BN(SLOT_DENSE_OUT));
}

static sae_scores scores(job *j)
{
    COST(0, 4 * j->B * j->n + 8 * j->B * j->kk);
    return (sae_scores){MAT_BN(SLOT_DENSE_A), {NULL, 0, 0, 0}, (enum sae_key)j->which};
}

static int run_row_topk(job *j)
{
    sae_scores s = scores(j);
    return j->k->row_topk(j->dev, &s, SHAPE.k, sae_work_made(j->w));
}

static int run_flat_topk(job *j)
{
    sae_scores s = scores(j);
    return j->k->flat_topk(j->dev, &s, SHAPE.k * SHAPE.B, sae_work_made(j->w));
}

static int run_col_topk(job *j)
{
    sae_scores s = scores(j);
    return j->k->col_topk(j->dev, &s, GET(SLOT_QUOTA), sae_work_made(j->w));
}

static int run_threshold(job *j)
{
    sae_scores s = scores(j);
    return j->k->threshold(j->dev, &s, sae_work_bound(j->w), NULL, sae_work_made(j->w));
}

static int run_row_prefix(job *j)
{
    sae_scores s = scores(j);
    return j->k->row_prefix(j->dev, &s, GET(SLOT_TARGET), 0, sae_work_made(j->w));
}

/* ---- codes ----------------------------------------------------------------------------------- */

static double entries(const job *j)
{
    return j->B * j->kk;
}

static int run_code_to_dense(job *j)
{
    COST(0, 4 * j->B * j->n + 8 * entries(j));
    return j->k->code_to_dense(j->dev, sae_work_code(j->w), OUT_BN(SLOT_DENSE_OUT));
}

static int run_code_decode(job *j)
{
    COST(2 * entries(j) * j->d, operands(j) + 8 * entries(j));
    return j->k->code_decode(j->dev, sae_work_code(j->w), MAT_ND(SLOT_W), GET(SLOT_BIAS_D),
                             OUT_BD(SLOT_XHAT));
}

static int run_code_grad(job *j)
{
    COST(2 * entries(j) * j->d, operands(j) + 8 * entries(j));
    return j->k->code_grad(j->dev, sae_work_code(j->w), MAT_BD(SLOT_Y), MAT_ND(SLOT_W),
                           GET(SLOT_DVAL));
}

static int run_code_transpose(job *j)
{
    COST(0, 20 * entries(j));
    return j->k->code_transpose(j->dev, sae_work_code(j->w), sae_work_index(j->w));
}

static int run_code_outer(job *j)
{
    COST(2 * entries(j) * j->d, operands(j) + 4 * j->n * j->d + 16 * entries(j));
    return j->k->code_outer(j->dev, sae_work_index(j->w), sae_work_code(j->w)->val, 1e-6f,
                            MAT_BD(SLOT_Y), OUT_ND(SLOT_GRAD));
}

static int run_code_col_sum(job *j)
{
    COST(entries(j), 12 * entries(j) + 8 * j->n);
    return j->k->code_col_sum(j->dev, sae_work_index(j->w), sae_work_code(j->w)->val, 1e-6f,
                              GET(SLOT_BIAS_N));
}

static int run_code_col_min(job *j)
{
    COST(0, 12 * entries(j) + 8 * j->n);
    return j->k->code_col_min(j->dev, sae_work_index(j->w), sae_work_code(j->w)->val,
                              GET(SLOT_BIAS_N));
}

static int run_code_max(job *j)
{
    COST(0, 8 * entries(j) + 8 * j->n);
    return j->k->code_max(j->dev, sae_work_code(j->w), GET(SLOT_BIAS_N));
}

static int run_code_slice(job *j)
{
    COST(0, 12 * entries(j));
    return j->k->code_slice(j->dev, sae_work_code(j->w), SHAPE.n / 4, SHAPE.n / 2,
                            sae_work_made(j->w));
}

/* Two of one code, the second behind the first: half of the entries stay. */
static int run_code_merge(job *j)
{
    const sae_code *z = sae_work_code(j->w);
    const sae_code_part part[] = {{*z, 0, 0}, {*z, 0, SHAPE.n}};
    sae_code *made = sae_work_made(j->w);
    COST(0, 24 * entries(j));
    made->B = SHAPE.B;
    made->n = 2 * SHAPE.n;
    return j->k->code_merge(j->dev, part, 2, (enum sae_merge)j->which, SAE_KEY_RELU,
                            j->which == SAE_MERGE_FLAT ? SHAPE.k * SHAPE.B : SHAPE.k, made);
}

static int run_code_scale(job *j)
{
    const sae_code *z = sae_work_code(j->w);
    COST(2 * entries(j), 12 * entries(j));
    return j->k->code_scale(j->dev, z, z->val, GET(SLOT_ROW), GET(SLOT_BIAS_N), GET(SLOT_DVAL));
}

static int run_code_norms(job *j)
{
    COST(2 * entries(j), 4 * entries(j) + 16 * j->B);
    return j->k->code_norms(j->dev, sae_work_code(j->w), GET(SLOT_L0), GET(SLOT_ROWS_DOUBLE));
}

static int run_fire_update(job *j)
{
    COST(0, 8 * entries(j) + 32 * j->n);
    return j->k->fire_update(j->dev, sae_work_code(j->w), 1, GET(SLOT_FIRED), GET(SLOT_FIRES));
}

/* ---- losses, optimiser ----------------------------------------------------------------------- */

static int run_residual(job *j)
{
    COST(3 * j->B * j->d, 12 * j->B * j->d);
    return j->k->residual(j->dev, MAT_BD(SLOT_X), MAT_BD(SLOT_Y), OUT_BD(SLOT_XHAT),
                          GET(SLOT_ROWS_DOUBLE));
}

static int run_project_rows(job *j)
{
    double norm2;
    COST(8 * j->n * j->d, 12 * j->n * j->d);
    return j->k->project_rows(j->dev, MAT_ND(SLOT_W), OUT_ND(SLOT_GRAD), &norm2);
}

static int run_adam_step(job *j)
{
    const sae_adam a = {1e-4, 0.9, 0.999, 1e-8, 0, 1, 100, 0};
    COST(13 * j->n * j->d, 32 * j->n * j->d);
    return j->k->adam_step(j->dev, &a, OUT_ND(SLOT_W), GET(SLOT_GRAD), GET(SLOT_M), GET(SLOT_V));
}

static int run_unit_rows(job *j)
{
    COST(3 * j->n * j->d, 8 * j->n * j->d);
    return j->k->unit_rows(j->dev, OUT_ND(SLOT_W));
}

static int run_normal_fill(job *j)
{
    COST(0, 4 * j->B * j->n);
    return j->k->normal_fill(j->dev, 1, SAE_STREAM_SYNTHETIC, 0, OUT_BN(SLOT_DENSE_OUT));
}

/* ---- elementwise and small products ---------------------------------------------------------- */

static int run_map(job *j)
{
    double p = j->which == SAE_FN_POWER ? 0.5 : -1;
    COST(0, 8 * j->B * j->n);
    return j->k->map(j->dev, (enum sae_fn)j->which, p, 1, MAT_BN(SLOT_DENSE_A),
                     OUT_BN(SLOT_DENSE_OUT));
}

static int run_mul(job *j)
{
    COST(2 * j->B * j->n, 12 * j->B * j->n);
    return j->k->mul(j->dev, 0.5f, MAT_BN(SLOT_DENSE_A), MAT_BN(SLOT_DENSE_B),
                     OUT_BN(SLOT_DENSE_OUT));
}

static int run_scale(job *j)
{
    COST(2 * j->B * j->n, 8 * j->B * j->n);
    return j->k->scale(j->dev, MAT_BN(SLOT_DENSE_A), GET(SLOT_ROW), GET(SLOT_BIAS_N),
                       OUT_BN(SLOT_DENSE_OUT));
}

static int run_window(job *j)
{
    COST(0, 12 * j->B * j->n);
    return j->k->window(j->dev, MAT_BN(SLOT_DENSE_A), MAT_BN(SLOT_DENSE_B), 0.5,
                        OUT_BN(SLOT_DENSE_OUT));
}

static int run_col_max(job *j)
{
    COST(0, 4 * j->B * j->n);
    return j->k->col_max(j->dev, MAT_BN(SLOT_DENSE_A), GET(SLOT_BIAS_N));
}

static int run_cross(job *j)
{
    COST(2 * j->B * j->d * j->d, 4 * j->B * j->d + 16 * j->d * j->d);
    return j->k->cross(j->dev, MAT_BD(SLOT_X), MAT_BD(SLOT_X), GET(SLOT_CROSS));
}

/* Both overwrite the matrix: a copy of it belongs to what is timed. */
static double *square(job *j)
{
    double *a = GET(SLOT_SQUARE), *start = GET(SLOT_SQUARE_START);
    const sae_engine *e = j->w->c->e;
    if (a && start && j->w->rc >= 0)
        j->w->rc = e->be->copy(e->dev, a, start, (size_t)(SHAPE.d * SHAPE.d) * sizeof *a,
                               SAE_COPY_D2D);
    return a;
}

static int run_eigh(job *j)
{
    COST(9 * j->d * j->d * j->d, 16 * j->d * j->d);
    return j->k->eigh(j->dev, SHAPE.d, square(j), GET(SLOT_D_DOUBLE));
}

static int run_solve_spd(job *j)
{
    COST(j->d * j->d * j->d / 3, 8 * j->d * j->d);
    return j->k->solve_spd(j->dev, SHAPE.d, 1, square(j), GET(SLOT_D_DOUBLE));
}

static int run_pursuit(job *j)
{
    const sae_pursuit p = {.solver = (enum sae_solver)j->which, .k = SHAPE.k};
    COST(product(j) * j->kk, operands(j));
    return j->k->pursuit(j->dev, &p, MAT_BD(SLOT_X), MAT_ND(SLOT_W), sae_work_made(j->w));
}

/* ---- the benchmarks -------------------------------------------------------------------------- */

typedef struct entry {
    const char *name;
    int (*run)(job *j);
    int which;
} entry;

#define ENTRY(k) {"kernel/" #k, run_##k, 0},
static const entry entries_of_table[] = {SAE_KERNEL_LIST(ENTRY)};
static const entry more[] = {
    {"kernel/encode_topk_relu", run_encode_topk, SAE_KEY_RELU},
    {"kernel/encode_topk_abs", run_encode_topk, SAE_KEY_ABS},
    {"kernel/encode_flat_topk_relu", run_encode_flat_topk, SAE_KEY_RELU},
    {"kernel/row_topk_relu", run_row_topk, SAE_KEY_RELU},
    {"kernel/code_merge_rows", run_code_merge, SAE_MERGE_ROWS},
    {"kernel/code_merge_flat", run_code_merge, SAE_MERGE_FLAT},
    {"kernel/map_tanh", run_map, SAE_FN_TANH},
    {"kernel/map_abs", run_map, SAE_FN_ABS},
    {"kernel/map_sign", run_map, SAE_FN_SIGN},
    {"kernel/map_power", run_map, SAE_FN_POWER},
    {"kernel/map_clamp", run_map, SAE_FN_CLAMP},
    {"kernel/pursuit_omp", run_pursuit, SAE_SOLVE_OMP},
    {"kernel/pursuit_gradient", run_pursuit, SAE_SOLVE_GRADIENT},
};
enum { PURSUIT_ROWS = 128 };

typedef struct bound { /* of one registered benchmark */
    sae_cases *c;
    sae_work *w;
    const entry *entry;
} bound;

static int once(void *arg, sae_err *err)
{
    job *j = arg;
    int rc = j->run(j);
    (void)err;
    return j->w->rc < 0 ? j->w->rc : sae_cases_wait(j->w->c->e, rc);
}

static void run_kernel(sae_bench_state *st)
{
    const bound *b = sae_bench_user(st);
    const sae_shape s = sae_cases_shape_of(st);
    sae_err err = {0};
    job j = {b->w, &b->c->e->k, b->c->e->dev, (double)s.d, (double)s.n, (double)s.B, (double)s.k,
             {0, 0}, b->entry->which, b->entry->run};
    sae_work_shape(b->w, &s);
    int rc = once(&j, &err); /* makes the data, sizes the workspace, warms up */
    if (rc < 0) {
        sae_cases_fail(st, rc, &err);
        return;
    }
    double seconds = sae_cases_loop(st, once, &j);
    if (seconds < 0)
        return;
    double n = (double)sae_bench_iterations(st);
    sae_cases_rates(b->c, st, seconds, n * j.cost.flops, n * j.cost.bytes);
}

static int add(sae_cases *c, sae_work *w, const entry *e, const sae_shape *shape, sae_err *err)
{
    bound *b = sae_cases_keep(c, sizeof *b, err);
    sae_shape s = *shape;
    if (!b)
        return SAE_ENOMEM;
    *b = (bound){c, w, e};
    if (e->run == run_pursuit) /* every row takes k products with the dictionary */
        s.B = PURSUIT_ROWS;
    sae_bench *bench = sae_cases_shape(sae_bench_add(e->name, run_kernel, b), &s);
    sae_cases_timed(bench);
    if (e->run == run_pursuit || e->run == run_eigh)
        sae_bench_set_iterations(bench, 1);
    return SAE_OK;
}

/* Shape by shape: the data of one is made once. */
int sae_cases_kernels(sae_cases *c, sae_err *err)
{
    static const sae_shape shapes[] = {{512, 8192, 4096, 32},
                                       {768, 16384, 4096, 32},
                                       {2304, 36864, 2048, 230},
                                       {768, 65536, 2048, 64}};
    sae_work *w = sae_cases_work(c, err);
    if (!w)
        return SAE_ENOMEM;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (size_t k = 0; k < sizeof entries_of_table / sizeof entries_of_table[0]; k++)
            SAE_TRY(add(c, w, &entries_of_table[k], &shapes[i], err));
        for (size_t k = 0; k < sizeof more / sizeof more[0]; k++)
            SAE_TRY(add(c, w, &more[k], &shapes[i], err));
    }
    return SAE_OK;
}
