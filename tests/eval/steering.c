/* tests/eval/steering.c - the two passes of the family steering beside its definition, in batches
 * of any size and merged. */
#include "eval/bench.h"

#include <sae/labelled.h>

static const char spec[] = "steering:label=gender,purity=0.5,strength=2";
enum { STRENGTH = 2 };

static world w;

/* Codes of either sign; feature 4 tells the poles, classes 0 and 2; so do the next tokens. */
static void fill(void)
{
    world_fill(&w, 22);
    w.caps = SAE_CAP_SIGNED;
    w.scale = 2;
    for (int64_t r = 0; r < ROWS; r++) {
        for (int j = 0; j < N; j += 2)
            w.z[r * N + j] = -w.z[r * N + j];
        if (w.label[r * LABELS] != 1)
            w.z[r * N + 4] = w.label[r * LABELS] == 0 ? -1 - (sae_real)(r % 2) : 1;
    }
}

static int pole_of(int64_t r)
{
    return w.label[r * LABELS] == 0 ? 0 : w.label[r * LABELS] == 2 ? 1 : -1;
}
static int is_test(int64_t r)
{
    return sae_part_of(w.tok[r].doc) == SAE_PART_TEST;
}

/* What training rows say of feature 4, of x and of tokens. */
typedef struct facts {
    double level, direction[D];
    int of[VOCAB]; /* pole of a token, -1: neither */
} facts;

static void learn(facts *f)
{
    double rows[2] = {0}, size = 0, uses = 0, x[2][D] = {{0}}, next[2][VOCAB] = {{0}}, rr = 0;
    double aa = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        int pole = pole_of(r);
        if (pole < 0 || is_test(r))
            continue;
        rows[pole]++;
        size += fabs((double)w.z[r * N + 4]);
        uses += w.z[r * N + 4] != 0;
        next[pole][w.next[r]]++;
        for (int i = 0; i < D; i++)
            x[pole][i] += (double)w.x[r * D + i];
    }
    f->level = size / uses;
    for (int v = 0; v < VOCAB; v++) {
        double a = next[0][v] / rows[0], b = next[1][v] / rows[1];
        f->of[v] = next[0][v] + next[1][v] < 5 ? -1 : a >= b ? 0 : 1;
    }
    for (int i = 0; i < D; i++) {
        f->direction[i] = x[0][i] / rows[0] - x[1][i] / rows[1];
        rr += f->direction[i] * f->direction[i];
        aa += pow((double)w.w_dec[4 * D + i], 2);
    }
    for (int i = 0; i < D; i++)
        f->direction[i] *= STRENGTH * f->level * sqrt(aa / rr);
}

static double odds(const facts *f, const sae_real *x, double *ce, int64_t r)
{
    double p[VOCAB], of[2] = {0, 0};
    world_logprob(&w, x, p);
    for (int v = 0; v < VOCAB; v++)
        if (f->of[v] >= 0)
            of[f->of[v]] += exp(p[v]);
    *ce = -p[w.next[r]];
    return log(of[0] / of[1]);
}

/* Mean shift and increase of cross-entropy by a change: 0 amplify, 1 suppress, 2 swap, 3 the
 * difference of means. Feature 4 is negative on pole 0. */
static void recompute(int change, double *shift, double *cost)
{
    facts f;
    double tokens = 0, polar = 0;
    learn(&f);
    *shift = *cost = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        double z = (double)w.z[r * N + 4], ce, old;
        double to = change == 0 ? -STRENGTH * f.level : change == 1 ? 0 : -z;
        sae_real x[D];
        int pole = pole_of(r);
        if (!is_test(r))
            continue;
        for (int i = 0; i < D; i++) {
            double by = change == 3 ? f.direction[i] : (to - z) * (double)w.w_dec[4 * D + i];
            x[i] = (sae_real)((double)w.x[r * D + i] + (pole < 0 ? 0 : w.scale * by));
        }
        double before = odds(&f, &w.x[r * D], &old, r), after = odds(&f, x, &ce, r);
        int away = change == 1 || change == 2;
        tokens++;
        polar += pole >= 0;
        *cost += ce - w.loss[0][r];
        if (pole >= 0)
            *shift += away && pole == 0 ? before - after : after - before;
    }
    *shift /= polar;
    *cost /= tokens;
}

START_TEST(shifts_and_costs)
{
    static const char *const name[] = {"amplify", "suppress", "swap", "dim"};
    static results o;
    fill();
    measure_twice(&w, spec, 7, 0, &o);
    ck_assert(value_of(&o, "latent") == 4);
    ck_assert(value_of(&o, "target_tokens") >= 2);
    for (int change = 0; change < 4; change++) {
        char key[32];
        double shift, cost;
        recompute(change, &shift, &cost);
        /* log-probabilities pass through float, 2^-24 of values below 100; rows are equal up to one
         * rounding of |x| < 100, through logits whose head is below 4 */
        double tol = 8 * D * 100 * 0x1p-24;
        snprintf(key, sizeof key, "%s_shift", name[change]);
        ck_assert_msg(fabs(value_of(&o, key) - shift) < tol, "%s is %g, expected %g", key,
                      value_of(&o, key), shift);
        ck_assert(se_of(&o, key) > 0);
        snprintf(key, sizeof key, "%s_ce", name[change]);
        ck_assert_msg(fabs(value_of(&o, key) - cost) < tol, "%s is %g, expected %g", key,
                      value_of(&o, key), cost);
    }
}
END_TEST

START_TEST(laws_and_degenerate_input)
{
    static results o;
    fill();
    check_two_passes(&w, spec);
    measure(&w, "steering", ROWS, 0, &o); /* no label: nothing but that */
    ck_assert(o.rows == 2 && value_of(&o, "latent") == -1);
    memset(w.z, 0, sizeof w.z); /* a silent SAE has no latent */
    measure(&w, spec, ROWS, 0, &o);
    ck_assert(o.rows == 2 && value_of(&o, "target_tokens") == 0);
}
END_TEST

Suite *suite_steering(void)
{
    Suite *s = suite_create("steering");
    TCase *t = tcase_create("steering");
    tcase_add_test(t, shifts_and_costs);
    tcase_add_test(t, laws_and_degenerate_input);
    suite_add_tcase(s, t);
    return s;
}
