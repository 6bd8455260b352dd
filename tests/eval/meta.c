/* tests/eval/meta.c - the SAE of the atoms against its definition in double, on planted atoms, and
 * with atoms turned round. */
#include "eval/bench.h"

enum { A = 24, W = 5, M = 6, K = 2, STEPS = 3 }; /* atoms, width, meta-latents; k, steps */

static world w;

static void measure_atoms(const char *metric, sae_real *atoms, int64_t n, int64_t d, uint64_t caps,
                          results *out)
{
    bench b;
    world_fill(&w, 1);
    w.caps = caps;
    bench_open(&b, &w, metric);
    b.m.dim = (sae_dims){d, d, n, n};
    b.m.t[1] = (sae_tensor){.spec = &world_tensors[1], .rows = n, .cols = d, .w = atoms};
    bench_end(&b, bench_begin(&b), out);
    bench_close(&b);
}

/* ---- the definition -------------------------------------------------------------------------- */

typedef struct twin {
    double x[A][W], enc[M][W], dec[M][W], be[M], bd[W];
    double m[M * W * 2 + M + W], v[M * W * 2 + M + W]; /* moments: enc, dec, be, bd */
    double z[A][M], e[A][W];
} twin;

static void unit(double *v)
{
    double s = 0;
    for (int i = 0; i < W; i++)
        s += v[i] * v[i];
    for (int i = 0; i < W; i++)
        v[i] /= sqrt(s);
}

/* z: the K A largest of the positive values; e: the error. Returns its sum of squares. */
static double twin_encode(twin *t)
{
    double pre[A][M], sse = 0;
    for (int r = 0; r < A; r++)
        for (int j = 0; j < M; j++) {
            pre[r][j] = t->be[j];
            t->z[r][j] = 0;
            for (int i = 0; i < W; i++)
                pre[r][j] += t->enc[j][i] * (t->x[r][i] - t->bd[i]);
        }
    for (int k = 0; k < K * A; k++) {
        int best = -1;
        for (int p = 0; p < A * M; p++)
            if (pre[p / M][p % M] > 0 && (best < 0 || pre[p / M][p % M] > pre[best / M][best % M]))
                best = p;
        if (best < 0)
            break;
        t->z[best / M][best % M] = pre[best / M][best % M];
        pre[best / M][best % M] = 0;
    }
    for (int r = 0; r < A; r++)
        for (int i = 0; i < W; i++) {
            t->e[r][i] = t->bd[i] - t->x[r][i];
            for (int j = 0; j < M; j++)
                t->e[r][i] += t->z[r][j] * t->dec[j][i];
            sse += t->e[r][i] * t->e[r][i];
        }
    return sse;
}

static void twin_adam(double *p, const double *g, double *m, double *v, int count, int step)
{
    for (int i = 0; i < count; i++) {
        m[i] = 0.9 * m[i] + 0.1 * g[i];
        v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
        p[i] -= 0.01 * m[i] / (1 - pow(0.9, step)) / (sqrt(v[i] / (1 - pow(0.999, step))) + 1e-8);
    }
}

static void twin_step(twin *t, int step)
{
    double enc[M][W] = {{0}}, dec[M][W] = {{0}}, be[M] = {0}, bd[W] = {0};
    twin_encode(t);
    for (int r = 0; r < A; r++)
        for (int j = 0; j < M; j++) {
            double g = 0;
            for (int i = 0; i < W; i++)
                g += 2.0 / A * t->e[r][i] * t->dec[j][i];
            for (int i = 0; i < W && t->z[r][j] > 0; i++) {
                dec[j][i] += 2.0 / A * t->e[r][i] * t->z[r][j];
                enc[j][i] += g * (t->x[r][i] - t->bd[i]);
                bd[i] -= g * t->enc[j][i];
            }
            be[j] += t->z[r][j] > 0 ? g : 0;
        }
    for (int r = 0; r < A; r++)
        for (int i = 0; i < W; i++)
            bd[i] += 2.0 / A * t->e[r][i];
    for (int j = 0; j < M; j++) {
        double along = 0;
        for (int i = 0; i < W; i++)
            along += dec[j][i] * t->dec[j][i];
        for (int i = 0; i < W; i++)
            dec[j][i] -= along * t->dec[j][i];
    }
    twin_adam(t->enc[0], enc[0], t->m, t->v, M * W, step);
    twin_adam(t->dec[0], dec[0], t->m + M * W, t->v + M * W, M * W, step);
    twin_adam(t->be, be, t->m + 2 * M * W, t->v + 2 * M * W, M, step);
    twin_adam(t->bd, bd, t->m + 2 * M * W + M, t->v + 2 * M * W + M, W, step);
    for (int j = 0; j < M; j++)
        unit(t->dec[j]);
}

START_TEST(follows_its_definition)
{
    static sae_real atoms[A * W];
    static results o;
    static twin t;
    double variance = A;
    memset(&t, 0, sizeof t);
    for (int r = 0; r < A; r++) {
        for (int i = 0; i < W; i++) {
            atoms[r * W + i] = (sae_real)(0.5 + draw(21, (uint64_t)r, (uint32_t)i));
            t.x[r][i] = (double)atoms[r * W + i];
        }
        unit(t.x[r]);
        for (int i = 0; i < W; i++)
            t.bd[i] += t.x[r][i] / A;
    }
    for (int i = 0; i < W; i++)
        variance -= A * t.bd[i] * t.bd[i];
    for (int j = 0; j < M; j++) {
        for (int i = 0; i < W; i++)
            t.dec[j][i] = sae_normal(0, SAE_STREAM_PROBE, (uint64_t)j, (uint32_t)i);
        unit(t.dec[j]);
        memcpy(t.enc[j], t.dec[j], sizeof t.enc[j]);
    }
    for (int s = 1; s <= STEPS; s++)
        twin_step(&t, s);
    double sse = twin_encode(&t);
    measure_atoms("meta:steps=3,k=2,lr=0.01", atoms, A, W, 0, &o);
    /* Float on the other side: sums of at most A (M + W) terms below 1 in every step, and Adam's
     * steps of 0.01 divide gradients by their own size. */
    double bound = STEPS * A * (M + W) * 0x1p-24;
    ck_assert_double_eq_tol(value_of(&o, "explained"), 1 - sse / variance, bound);
    ck_assert_double_eq_tol(value_of(&o, "mse"), sse / (A * W), bound);
}
END_TEST

/* ---- planted and plain atoms ----------------------------------------------------------------- */

/* 96 atoms, each of two of 12 directions of 32: with these 12 and k = 2 there is no error. */
START_TEST(planted_directions)
{
    enum { N2 = 96, D2 = 32 };
    static sae_real atoms[N2 * D2];
    static results planted, plain;
    memset(atoms, 0, sizeof atoms);
    for (int j = 0; j < N2; j++) {
        int a = j % 12;
        atoms[j * D2 + a] = atoms[j * D2 + (a + 1 + j / 12 % 11) % 12] = 1;
    }
    const char *metric = "meta:steps=1500,k=2,width=0.25,lr=0.01";
    measure_atoms(metric, atoms, N2, D2, 0, &planted);
    for (int i = 0; i < N2 * D2; i++)
        atoms[i] = (sae_real)draw(22, 1, (uint32_t)i);
    measure_atoms(metric, atoms, N2, D2, 0, &plain);
    ck_assert_double_gt(value_of(&planted, "explained"), 0.9);
    ck_assert_double_lt(value_of(&plain, "explained"), 0.7);
    ck_assert_double_le(value_of(&planted, "mse"), 0.1 / D2);
    for (int i = 0; i < N2 * D2; i++)
        atoms[i] = 1;
    measure_atoms(metric, atoms, N2, D2, 0, &plain); /* no variance */
    ck_assert(isnan(value_of(&plain, "explained")) && value_of(&plain, "mse") < 1e-3);
}
END_TEST

/* For signed codes an atom and its negative are the same. */
START_TEST(turned_atoms)
{
    static sae_real atoms[A * W];
    static results a, b;
    for (int i = 0; i < A * W; i++)
        atoms[i] = (sae_real)draw(23, 1, (uint32_t)i);
    measure_atoms("meta:steps=50,batch=10", atoms, A, W, SAE_CAP_SIGNED, &a);
    for (int i = 0; i < A / 2 * W; i++)
        atoms[i] = -atoms[i];
    measure_atoms("meta:steps=50,batch=10", atoms, A, W, SAE_CAP_SIGNED, &b);
    ck_assert_int_eq(a.rows, 3);
    ck_assert(!memcmp(&a, &b, sizeof a));
    measure_atoms("meta", atoms, A, W, 0, &b);
    ck_assert_int_eq(b.rows, 0);
}
END_TEST

Suite *suite_meta(void)
{
    Suite *s = suite_create("meta");
    TCase *t = tcase_create("meta");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, follows_its_definition);
    tcase_add_test(t, planted_directions);
    tcase_add_test(t, turned_atoms);
    suite_add_tcase(s, t);
    return s;
}
