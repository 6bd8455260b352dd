/* tests/models/lm_ops.c - embeddings, norms, nonlinearities, positions and results of rows on a
 * device against the host's.
 *
 * Bounds: with u = 2^-24, a sum of n terms computed from factors of relative error e differs from
 * the true one by at most (n + e) u times the sum of the terms' sizes; both sides may. Where an
 * error passes through a function, its slope multiplies it. What is called a size below is such a
 * sum of sizes, computed in double. Sums in double add nothing that counts here. The constants
 * count roundings on the longest path, of both sides, with those of the host's functions (exp 4 u,
 * tanh 16 u, see lm_math.h) and the device's (exp 4 u, tanh 4 u, erfc 8 u; the emulation's are
 * better).
 */
#include "models/lm_ops_util.h"

#include <stdio.h>

/* ---- embeddings ------------------------------------------------------------------------------ */

enum { VOCAB = 7, CTX = 5 };

static int run_embed(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    sae_lm_tables t = *(const sae_lm_tables *)c->arg;
    sae_lm_rows g = {.N = 1, .rows = rows, .longest = rows, .tok = p[0], .pos = p[1]};
    t.embed = p[2];
    t.position = p[3];
    return at->ops->embed(at->dev, &t, &g, p[4]);
}

static int run_embed_back(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    sae_lm_rows g = {.N = 1, .rows = rows, .longest = rows, .tok = p[0], .pos = p[1]};
    return at->ops->embed_back(at->dev, c->arg, &g, p[2], p[3], p[4]);
}

START_TEST(embed)
{
    enum { ROWS = 600 };
    static const int64_t widths[] = {1, 37, 300};
    int64_t d = widths[_i / 2], rows = _i < 4 ? ROWS : 40, ctx = _i % 2 ? 0 : CTX;
    sae_lm_tables t = {.d = d, .scale = 0.7};
    int32_t *tok = keep(rows, sizeof *tok), *pos = keep(rows, sizeof *pos);
    for (int64_t r = 0; r < rows; r++) {
        tok[r] = (int32_t)(r * r % (VOCAB - 1)); /* some often, one never */
        pos[r] = (int32_t)(r % CTX);
    }
    sae_real *e = normals(0, VOCAB * d, 1), *p = normals(1, CTX * d, 1),
             *dx = normals(2, rows * d, 1);
    double *bound = keep(rows * d, sizeof *bound);
    double *de = keep(VOCAB * d, sizeof *de), *dp = keep(CTX * d, sizeof *dp);
    for (int64_t i = 0; i < rows * d; i++) {
        double at = ctx ? fabs((double)p[pos[i / d] * d + i % d]) : 0;
        bound[i] = 4 * UNIT * (fabs((double)e[tok[i / d] * d + i % d]) + at); /* product, sum */
        de[tok[i / d] * d + i % d] += fabs((double)dx[i]);
        dp[pos[i / d] * d + i % d] += fabs((double)dx[i]);
    }
    for (int64_t i = 0; i < VOCAB * d; i++)
        de[i] = 2 * (double)(rows + 2) * UNIT * (de[i] + fabs((double)e[i]));
    for (int64_t i = 0; i < CTX * d; i++)
        dp[i] = 2 * (double)(rows + 2) * UNIT * (dp[i] + fabs((double)p[i]));
    op_buffer toks = input(tok, 1, 0, sizeof *tok), poss = input(pos, 1, 0, sizeof *pos);
    op_case c = {run_embed,
                 {toks, poss, input(e, 0, VOCAB * d, sizeof *e), input(p, 0, ctx * d, sizeof *p),
                  output(NULL, d, 0, sizeof *e, bound)},
                 rows,
                 &t,
                 "embed"};
    check_rows(&c);
    op_case back = {run_embed_back,
                    {toks, poss, input(dx, d, 0, sizeof *dx),
                     output(e, 0, VOCAB * d, sizeof *e, de), output(p, 0, ctx * d, sizeof *p, dp)},
                    rows,
                    &t,
                    "embed_back"};
    void *got[MOST_BUFFERS];
    check_case(&back, got);
}
END_TEST

/* ---- norms ----------------------------------------------------------------------------------- */

typedef struct norm_arg {
    sae_lm_normer k;
    int add, in_place;
} norm_arg;

static int run_norm(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const norm_arg *a = c->arg;
    sae_lm_normer k = a->k;
    k.w = p[1];
    k.b = p[2];
    return at->ops->norm(at->dev, &k, rows, p[0], a->in_place ? p[0] : p[3]);
}

static int run_norm_back(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const norm_arg *a = c->arg;
    sae_lm_normer k = a->k;
    k.w = p[1];
    return at->ops->norm_back(at->dev, &k, rows, p[0], p[2], a->add, a->in_place ? p[2] : p[3],
                              p[4]);
}

/* What bounds of a row need: the size of x-hat and the factor. */
static double hat_sizes(const sae_lm_normer *k, const sae_real *x, double *hat)
{
    double n = (double)k->n, mean = 0, q = 0;
    for (int64_t i = 0; i < k->n && k->kind == SAE_LM_NORM_LAYER; i++)
        mean += (double)x[i] / n;
    for (int64_t i = 0; i < k->n; i++)
        q += ((double)x[i] - mean) * ((double)x[i] - mean);
    double f = k->kind == SAE_LM_NORM_UNIT ? 1 / (fmax(sqrt(q), 1e-12) * sqrt(n))
                                           : 1 / sqrt(q / n + k->eps);
    for (int64_t i = 0; i < k->n; i++)
        hat[i] = f * (fabs((double)x[i]) + fabs(mean));
    return f;
}

/* Gradient of a row: f (g - mean(g) - x-hat along). 16 roundings a side: x-hat 3, g 1, along 5, its
 * product, the factor 2, differences and the last product. */
static void back_bounds(const sae_lm_normer *k, const sae_real *x, const sae_real *dy,
                        const sae_real *was, double *dx, double *hat)
{
    double along = 0, mean = 0, n = (double)k->n, f = hat_sizes(k, x, hat);
    for (int64_t i = 0; i < k->n; i++) {
        double g = fabs((double)dy[i] * (k->w ? (double)k->w[i] : 1));
        mean += k->kind == SAE_LM_NORM_LAYER ? g / n : 0;
        along += g * hat[i] * (k->kind == SAE_LM_NORM_UNIT ? n : 1 / n);
    }
    for (int64_t i = 0; i < k->n; i++) {
        double g = fabs((double)dy[i] * (k->w ? (double)k->w[i] : 1));
        dx[i] = 32 * UNIT * (f * (g + mean + hat[i] * along) + (was ? fabs((double)was[i]) : 0));
        hat[i] *= 10 * UNIT * fabs((double)dy[i]);
    }
}

static const int64_t norm_widths[] = {1, 7, 37, 256, 1030};

/* _i: width, kind, w and b, and for gradients what becomes of dx. */
START_TEST(norms)
{
    enum { ROWS = 9 };
    int64_t n = norm_widths[_i / 12];
    enum sae_lm_norm kind = (enum sae_lm_norm)(SAE_LM_NORM_RMS + _i % 3);
    int with_w = _i / 3 % 2, with_b = _i / 6 % 2;
    sae_real *x = normals(3, ROWS * n, 3), *w = normals(4, n, 1), *b = normals(5, n, 1);
    sae_real *dy = normals(6, ROWS * n, 1), *was = normals(7, ROWS * n, 1);
    memset(x, 0, (size_t)n * sizeof *x); /* a row of zeros */
    norm_arg a = {{kind, 1e-5, n, with_w ? w : NULL, NULL}, with_w, with_b};
    double *out = keep(ROWS * n, sizeof *out), *dx = keep(ROWS * n, sizeof *dx);
    double *hat = keep(ROWS * n, sizeof *hat);
    for (int64_t r = 0; r < ROWS; r++) {
        hat_sizes(&a.k, x + r * n, out + r * n);
        for (int64_t i = 0; i < n; i++) /* 6 roundings a side */
            out[r * n + i] = 12 * UNIT *
                             (out[r * n + i] * (with_w ? fabs((double)w[i]) : 1) +
                              (with_b ? fabs((double)b[i]) : 0));
        back_bounds(&a.k, x + r * n, dy + r * n, with_w ? was + r * n : NULL, dx + r * n,
                    hat + r * n);
    }
    size_t size = sizeof *x;
    op_buffer weight = input(w, 0, with_w ? n : 0, size), to = output(NULL, n, 0, size, out);
    op_buffer xs = input(x, n, 0, size), bias = input(b, 0, with_b ? n : 0, size);
    op_case c = {run_norm, {xs, weight, bias, to}, ROWS, &a, "norm"};
    a.in_place = 0;
    check_rows(&c);
    a.in_place = 1;
    c.b[0] = output(x, n, 0, size, out);
    check_rows(&c);
    a.in_place = with_b && !with_w; /* w: dx is added to */
    op_case back = {run_norm_back,
                    {xs, weight, input(dy, n, 0, size), output(with_w ? was : NULL, n, 0, size, dx),
                     output(NULL, with_b ? n : 0, 0, size, hat)},
                    ROWS,
                    &a,
                    "norm_back"};
    if (a.in_place)
        back.b[2] = output(dy, n, 0, size, dx);
    check_rows(&back);
}
END_TEST

/* ---- nonlinearities -------------------------------------------------------------------------- */

typedef struct mix_arg {
    enum sae_lm_act act;
    int gated;
    int64_t n;
} mix_arg;

static int run_mix(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const mix_arg *a = c->arg;
    return at->ops->mix(at->dev, a->act, a->gated, rows, a->n, p[0], p[1]);
}

static int run_mix_back(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const mix_arg *a = c->arg;
    return at->ops->mix_back(at->dev, a->act, a->gated, rows, a->n, p[1], p[0]);
}

/* Bounds of f(x) and f'(x), of both sides. The host's exponential stops at e^88: FLOOR.
 *   silu: x s, s = 1 / (1 + e^-x): 8 roundings; slope s + x s (1 - s), where 1 - s is off by those
 *   of 1: 16 of s + |x| s.
 *   gelu_tanh: as silu of an argument off by 5 u: s is off by |arg| (1 - s) 5 u more.
 *   gelu: Phi's exponent is off by 3 u x^2, its polynomial by 8 u.
 */
#define FLOOR 1e-35
static void act_bounds(enum sae_lm_act act, double x, double *value, double *slope)
{
    double arg = act == SAE_LM_SILU ? x : 1.5957691216057308 * (x + 0.044715 * x * x * x);
    double s = 1 / (1 + exp(-arg)), more = act == SAE_LM_SILU ? 1 : 1 + fabs(arg) * (1 - s);
    double along = act == SAE_LM_SILU ? 1 : 1.5957691216057308 * (1 + 0.134145 * x * x);
    double phi = 0.5 * erfc(-x * sqrt(0.5)), bell = exp(-x * x / 2) / sqrt(8 * atan(1));
    *value = 16 * UNIT * fabs(x) * s * more;
    *slope = 40 * UNIT * s * (1 + fabs(x) * along) * more;
    if (act == SAE_LM_GELU) {
        *value = 48 * UNIT * (1 + x * x) * fabs(x) * phi;
        *slope = 64 * UNIT * (1 + x * x) * (phi + fabs(x) * bell);
    }
    if (act == SAE_LM_RELU)
        *value = *slope = 0;
    *value += FLOOR;
    *slope += FLOOR * (1 + fabs(x)) * (1 + x * x);
}

static double act_of(enum sae_lm_act act, double x)
{
    double arg = act == SAE_LM_SILU ? x : 1.5957691216057308 * (x + 0.044715 * x * x * x);
    if (act == SAE_LM_GELU)
        return x * 0.5 * erfc(-x * sqrt(0.5));
    return act == SAE_LM_RELU ? fmax(x, 0) : x / (1 + exp(-arg));
}

static double slope_of(enum sae_lm_act act, double x)
{
    double h = 1e-4; /* a size is enough */
    return fabs(act_of(act, x + h) - act_of(act, x - h)) / (2 * h) + 1e-4;
}

START_TEST(mix)
{
    enum { ROWS = 5 };
    static const int64_t widths[] = {1, 45, 300};
    mix_arg a = {(enum sae_lm_act)(_i % 4), _i / 4 % 2, widths[_i / 8]};
    int64_t n = a.n, ld = a.gated ? 2 * n : n;
    sae_real *wide = normals(8, ROWS * ld, 4), *dout = normals(9, ROWS * n, 1);
    double *out = keep(ROWS * n, sizeof *out), *dwide = keep(ROWS * ld, sizeof *dwide);
    for (int64_t i = 0; i < ROWS * n; i++) {
        int64_t at = i / n * ld + i % n;
        if (i % 11 == 0) /* beyond where exponentials saturate */
            wide[at] *= 20;
        double x = (double)wide[at], d = fabs((double)dout[i]), value, slope;
        double up = a.gated ? fabs((double)wide[at + n]) : 1;
        act_bounds(a.act, x, &value, &slope);
        out[i] = up * (value + 2 * UNIT * fabs(act_of(a.act, x)));
        dwide[at] = d * up * (slope + 4 * UNIT * slope_of(a.act, x));
        if (a.gated)
            dwide[at + n] = d * (value + 2 * UNIT * fabs(act_of(a.act, x)));
    }
    op_case c = {run_mix,
                 {input(wide, ld, 0, sizeof *wide), output(NULL, n, 0, sizeof *wide, out)},
                 ROWS,
                 &a,
                 "mix"};
    check_rows(&c);
    op_case back = {run_mix_back,
                    {output(wide, ld, 0, sizeof *wide, dwide), input(dout, n, 0, sizeof *dout)},
                    ROWS,
                    &a,
                    "mix_back"};
    check_rows(&back);
}
END_TEST

static int run_add(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    (void)c;
    return at->ops->add(at->dev, rows, p[0], p[1]);
}

static int run_cap(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    return at->ops->cap(at->dev, rows, *(const double *)c->arg, p[0]);
}

/* A sum has one rounding, always the same; a cap two in the argument, the functions', one behind.
 */
START_TEST(elements)
{
    int64_t n = _i ? 20001 : 3;
    double cap = 30, *bound = keep(n, sizeof *bound);
    sae_real *x = normals(10, n, 40), *y = normals(11, n, 40);
    for (int64_t i = 0; i < n; i++)
        bound[i] = 28 * UNIT * fabs(cap * tanh((double)x[i] / cap));
    op_case add = {
        run_add, {input(y, 1, 0, sizeof *y), output(x, 1, 0, sizeof *x, NULL)}, n, NULL, "add"};
    check_rows(&add);
    op_case c = {run_cap, {output(x, 1, 0, sizeof *x, bound)}, n, &cap, "cap"};
    check_rows(&c);
}
END_TEST

/* ---- positions ------------------------------------------------------------------------------- */

typedef struct place_shape {
    int64_t heads, kv_heads, head, rotary;
    int q_norm, k_norm;
} place_shape;
static const place_shape placed[] = {
    {4, 2, 6, 6, 0, 0},     {2, 2, 20, 8, 1, 1}, {3, 1, 64, 64, 1, 0}, {2, 1, 128, 64, 0, 1},
    {1, 1, 200, 200, 1, 1}, {2, 2, 33, 0, 1, 1}, {2, 1, 10, 0, 0, 0},
};

static sae_lm_heads heads_of(const place_shape *s, void *const *p)
{
    return (sae_lm_heads){.heads = s->heads,
                          .kv_heads = s->kv_heads,
                          .head = s->head,
                          .rotary = s->rotary,
                          .rope = p[1],
                          .q_norm = p[2],
                          .k_norm = p[3],
                          .eps = 1e-6};
}

static int run_position(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    sae_lm_heads h = heads_of(c->arg, p);
    sae_lm_rows g = {.N = 1, .rows = rows, .longest = rows, .pos = p[0]};
    return at->ops->position(at->dev, &h, &g, p[4], p[5] ? p[5] : p[4]);
}

static int run_position_back(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    sae_lm_heads h = heads_of(c->arg, p);
    sae_lm_rows g = {.N = 1, .rows = rows, .longest = rows, .pos = p[0]};
    return at->ops->position_back(at->dev, &h, &g, p[4], p[5], p[6], p[7]);
}

/* Sizes of components after a turn. */
static void turned_sizes(const place_shape *s, const sae_real *angles, double *x)
{
    int64_t half = s->rotary / 2;
    for (int64_t i = 0; i < half; i++) {
        double a = x[i], b = x[half + i], co = fabs((double)angles[i]);
        double si = fabs((double)angles[half + i]);
        x[i] = a * co + b * si;
        x[half + i] = b * co + a * si;
    }
}

/* One head: 8 roundings a side forward (norm 4, turn 3); backward 3 of the turn, then as a norm's
 * gradient; hat is a sum over heads. */
static void head_bounds(const place_shape *s, const sae_real *angles, const sae_real *w,
                        const sae_real *x, const sae_real *d, double *out, double *dx, double *hat)
{
    double q = 0, along = 0, n = (double)s->head;
    for (int64_t i = 0; i < s->head; i++)
        q += (double)x[i] * (double)x[i];
    double f = 1 / sqrt(q / n + 1e-6);
    for (int64_t i = 0; i < s->head; i++) {
        out[i] = 16 * UNIT * fabs((double)x[i]) * (w ? f * fabs((double)w[i]) : 1);
        dx[i] = fabs((double)d[i]);
    }
    turned_sizes(s, angles, out);
    turned_sizes(s, angles, dx);
    for (int64_t i = 0; w && i < s->head; i++) {
        hat[i] += 2 * (double)(s->heads + 8) * UNIT * dx[i] * fabs((double)x[i]) * f;
        dx[i] *= fabs((double)w[i]);
        along += dx[i] * fabs((double)x[i]) * f / n;
    }
    for (int64_t i = 0; i < s->head; i++)
        dx[i] = w ? 40 * UNIT * f * (dx[i] + fabs((double)x[i]) * f * along) : 8 * UNIT * dx[i];
}

START_TEST(position)
{
    enum { ROWS = 11, LONGEST = 6 };
    const place_shape *s = &placed[_i];
    int64_t ld = (s->heads + 2 * s->kv_heads) * s->head, count = ROWS * ld;
    int32_t *pos = keep(ROWS, sizeof *pos);
    sae_real *rope = normals(12, LONGEST * s->rotary, 1), *w = normals(13, 2 * s->head, 1);
    sae_real *x = normals(14, count, 2), *d = normals(15, count, 1);
    double *out = keep(count, sizeof *out), *dx = keep(count, sizeof *dx);
    double *hat = keep(2 * ROWS * s->head, sizeof *hat);
    for (int64_t r = 0; r < ROWS; r++) {
        pos[r] = (int32_t)(r * 5 % LONGEST);
        for (int64_t k = 0; k < s->heads + s->kv_heads; k++) {
            int key = k >= s->heads;
            int64_t at = r * ld + k * s->head;
            head_bounds(s, rope + pos[r] * s->rotary,
                        (key ? s->k_norm : s->q_norm) ? w + key * s->head : NULL, x + at, d + at,
                        out + at, dx + at, hat + (key * ROWS + r) * s->head);
        }
    }
    size_t size = sizeof *x;
    op_case c = {run_position,
                 {input(pos, 1, 0, sizeof *pos), input(rope, 0, LONGEST * s->rotary, size),
                  input(w, 0, s->q_norm ? s->head : 0, size),
                  input(w + s->head, 0, s->k_norm ? s->head : 0, size), input(x, ld, 0, size),
                  output(NULL, ld, 0, size, out)},
                 ROWS,
                 s,
                 "position"};
    check_rows(&c);
    op_case back = c;
    c.b[4] = output(x, ld, 0, size, out); /* in place */
    c.b[5] = (op_buffer){0};
    check_rows(&c);
    back.run = run_position_back;
    back.name = "position_back";
    back.b[5] = output(d, ld, 0, size, dx);
    back.b[6] = output(NULL, s->q_norm ? s->head : 0, 0, size, hat);
    back.b[7] = output(NULL, s->k_norm ? s->head : 0, 0, size, hat + ROWS * s->head);
    check_rows(&back);
}
END_TEST

/* ---- results --------------------------------------------------------------------------------- */

typedef struct result_arg {
    int64_t vocab;
    double cap;
    int back;
} result_arg;

enum { R_Z, R_NEXT, R_REF, R_CE, R_KL, R_LOGPROB, R_TOP };

static int run_results(const sae_lm_place *at, const op_case *c, int64_t rows, void *const *p)
{
    const result_arg *a = c->arg;
    sae_lm_results q = {.vocab = a->vocab,
                        .cap = a->cap,
                        .next = p[R_NEXT],
                        .ce = p[R_CE],
                        .kl = p[R_KL],
                        .ref = p[R_REF],
                        .logprob = p[R_LOGPROB],
                        .top = p[R_TOP],
                        .back = a->back};
    return at->ops->results(at->dev, &q, rows, p[R_Z]);
}

typedef struct result_bounds {
    double *z, *ce, *kl, *logprob;
} result_bounds;

/* A weight e^(z - max) is off by the rounding of z - max and 4 u, the logarithm of their sum by the
 * mean of that, weighted; `sum` is that of both sides. */
static void row_bounds(const result_arg *a, const sae_real *z, const sae_real *ref, int32_t next,
                       int64_t r, result_bounds *b)
{
    int64_t n = a->vocab;
    double max = -INFINITY, total = 0, sum = 0, log_sum, per = a->cap > 0 ? 1 / a->cap : 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, (double)z[i]);
    for (int64_t i = 0; i < n; i++) {
        total += exp((double)z[i] - max);
        sum += exp((double)z[i] - max) * (max - (double)z[i] + 4) * 2 * UNIT;
    }
    sum = sum / total + 1e-12;
    log_sum = log(total);
    b->ce[r] = sum;
    for (int64_t i = 0; i < n; i++) {
        double lp = (double)z[i] - max - log_sum, to = (double)ref[r * n + i],
               cz = (double)z[i] * per;
        double off = sum + 2 * UNIT * fabs(lp);
        b->logprob[r * n + i] = off;
        b->kl[r] += exp(to) * (fabs(to - lp) * 8 * UNIT + off);
        b->z[r * n + i] = exp(lp) * (1 + cz * cz) * (2 * UNIT * (max - (double)z[i] + 12) + sum) +
                          (i == next ? 16 * UNIT * (1 + cz * cz) : 0) + 1e-37;
    }
}

/* Rows of logits: ordinary ones, ties of the largest, and such as have NaN or infinity. */
static void fill_logits(int64_t rows, int64_t n, sae_real *z)
{
    for (int64_t i = 0; i < rows * n; i++)
        z[i] *= i / n % 3 == 2 ? 20 : 2; /* exponentials that vanish */
    sae_real *tied = z, *not = z + n, *first = z + 2 * n, *none = z + 3 * n, *high = z + 4 * n;
    tied[n / 2] = tied[n - 1] = tied[n / 3] = 50;
    not [n / 2] = NAN;
    first[0] = NAN;
    high[n / 2] = INFINITY;
    for (int64_t i = 0; i < n; i++)
        none[i] = NAN;
}

static const int64_t vocabs[] = {1, 5, 257, 3001};

START_TEST(results)
{
    enum { ROWS = 9 };
    result_arg a = {vocabs[_i / 2], _i % 2 ? 30 : 0, 1};
    int64_t n = a.vocab;
    int32_t *next = keep(ROWS, sizeof *next);
    sae_real *z = normals(16, ROWS * n, 1), *ref = normals(17, ROWS * n, 1);
    result_bounds b = {keep(ROWS * n, sizeof(double)), keep(ROWS, sizeof(double)),
                       keep(ROWS, sizeof(double)), keep(ROWS * n, sizeof(double))};
    fill_logits(ROWS, n, z);
    for (int64_t i = 0; i < ROWS * n; i++)
        ref[i] = -fabsf((float)ref[i]) * 4;
    for (int64_t r = 0; r < ROWS; r++) {
        next[r] = r % 4 == 3 ? -1 : (int32_t)(r * 7 % n);
        row_bounds(&a, z + r * n, ref, next[r], r, &b);
    }
    size_t size = sizeof *z;
    op_case c = {run_results,
                 {output(z, n, 0, size, b.z), input(next, 1, 0, sizeof *next),
                  input(ref, n, 0, size), output(NULL, 1, 0, sizeof(double), b.ce),
                  output(NULL, 1, 0, sizeof(double), b.kl), output(NULL, n, 0, size, b.logprob),
                  output(NULL, 1, 0, sizeof(int32_t), NULL)},
                 ROWS,
                 &a,
                 "results"};
    void *got[MOST_BUFFERS];
    op_case bare = c; /* a loss and its gradient alone */
    bare.b[R_REF] = bare.b[R_KL] = bare.b[R_LOGPROB] = (op_buffer){0};
    check_rows(&bare);
    check_rows(&c);
    a.back = 0; /* logits stay; a pass does not diverge from itself */
    perform(&bench.device, &c, 0, ROWS, got);
    same_bytes(&c, R_Z, got[R_Z], z, ROWS * n, "logits have changed");
    c.b[R_REF].init = got[R_LOGPROB];
    perform(&bench.device, &c, 0, ROWS, got);
    for (int r = 0; r < ROWS; r++) {
        double kl = ((double *)got[R_KL])[r];
        int odd = r >= 1 && r <= 4;
        ck_assert_msg(odd ? isnan(kl) : kl == 0, "row %d diverges from itself by %g", r, kl);
        ck_assert_int_eq(((int32_t *)got[R_TOP])[r] == -1, odd);
    }
    for (int i = R_REF; i <= R_LOGPROB; i++)
        c.b[i] = (op_buffer){0};
    check_rows(&c); /* only `top` */
}
END_TEST

Suite *suite_lm_ops(void);
Suite *suite_lm_ops(void)
{
    Suite *s = suite_create("lm_ops");
    TCase *t = tcase_create("lm_ops");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, bench_open, bench_close);
    tcase_add_loop_test(t, embed, 0, 6);
    tcase_add_loop_test(t, norms, 0, 60);
    tcase_add_loop_test(t, mix, 0, 24);
    tcase_add_loop_test(t, elements, 0, 2);
    tcase_add_loop_test(t, position, 0, (int)(sizeof placed / sizeof placed[0]));
    tcase_add_loop_test(t, results, 0, 8);
    suite_add_tcase(s, t);
    return s;
}
