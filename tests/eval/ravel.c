/* tests/eval/ravel.c - the passes of the family ravel: its known values, the learned mask, batches
 * and merges. */
#include "eval/bench.h"

#include <sae/groups.h>
#include <sae/labelled.h>

static const char spec[] = "ravel:first=gender,second=sentiment,stride=1";

static world w;

/* Latents that are the dimensions of x; times: how much of them the atoms put back. */
static void fill_identity(double times)
{
    world_fill(&w, 31);
    memset(w.z, 0, sizeof w.z);
    memset(w.w_dec, 0, sizeof w.w_dec);
    for (int64_t r = 0; r < ROWS; r++) {
        double clean[VOCAB];
        for (int j = 0; j < D; j++)
            w.z[r * N + j] = w.x[r * D + j];
        world_logprob(&w, w.x + r * D, clean);
        for (int v = 0; v < VOCAB; v++)
            w.logprob[r * VOCAB + v] = (sae_real)clean[v];
    }
    for (int j = 0; j < D; j++)
        w.w_dec[j * D + j] = (sae_real)times;
}

/* All of x by latents of either attribute: the whole row is interchanged, so that everything is
 * caused and nothing isolated. */
START_TEST(whole_rows)
{
    static results o;
    fill_identity(1);
    measure_twice(&w, spec, 7, 0, &o);
    ck_assert(value_of(&o, "pairs") > 40);
    /* x + (source - x) is the source but for a rounding of 2^-24 of |x| < 8; heads are below 4;
     * sums of at most ROWS such, over a sum of changes above 1 */
    double bound = ROWS * 4.0 * D * 8 * 2 * 0x1p-24;
    ck_assert_double_eq_tol(value_of(&o, "cause"), 1, bound);
    ck_assert_double_eq_tol(value_of(&o, "isolation"), 0, bound);
    ck_assert_double_eq_tol(value_of(&o, "disentanglement"), 0.5, bound);
}
END_TEST

START_TEST(nothing_interchanged)
{
    static results o;
    fill_identity(0);
    measure_twice(&w, spec, 7, 0, &o);
    /* the model's log-probabilities come as floats: the same ones before and after */
    ck_assert(value_of(&o, "cause") == 0 && value_of(&o, "isolation") == 1);
    ck_assert(value_of(&o, "disentanglement") == 0.5);
}
END_TEST

/* Dimension 0 is made the sentiment, dimension 1 the gender, the rest is constant, and one latent
 * is allowed: each attribute finds its own, so that cause and isolation are perfect. */
START_TEST(disentangled)
{
    static results o;
    fill_identity(1);
    memset(w.x, 0, sizeof w.x);
    for (int64_t r = 0; r < ROWS; r++) {
        double clean[VOCAB];
        w.x[r * D] = w.z[r * N] = (sae_real)(w.label[r * LABELS + 1] ? 2 : -2);
        w.x[r * D + 1] = w.z[r * N + 1] = (sae_real)(w.label[r * LABELS] - 1);
        for (int j = 2; j < D; j++)
            w.z[r * N + j] = 0;
        world_logprob(&w, w.x + r * D, clean);
        for (int v = 0; v < VOCAB; v++)
            w.logprob[r * VOCAB + v] = (sae_real)clean[v];
    }
    measure_twice(&w, "ravel:first=gender,second=sentiment,stride=1,features=1", 7, 0, &o);
    /* small numbers: interchanged rows are exact */
    ck_assert(value_of(&o, "cause_first") == 1 && value_of(&o, "cause_second") == 1);
    ck_assert(value_of(&o, "isolation") == 1 && value_of(&o, "disentanglement") == 1);
}
END_TEST

/* What follows is the sentiment or the gender, which latents 4 and 5 put into dimensions 0 and 1,
 * beside a constant in dimension 2. Latents 0 and 1 tell them better and put back nothing. */
static void fill_decoys(void)
{
    fill_identity(0);
    memset(w.x, 0, sizeof w.x);
    memset(w.z, 0, sizeof w.z);
    memset(w.head, 0, sizeof w.head);
    w.w_dec[4 * D] = w.w_dec[5 * D + 1] = 1;
    for (int v = 0; v < 4; v++) { /* x - 2 and its opposite */
        w.head[v * D + v / 2] = v % 2 ? -1 : 1;
        w.head[v * D + 2] = v % 2 ? 2 : -2;
    }
    for (int64_t r = 0; r < ROWS; r++) {
        int gender = w.label[r * LABELS], sentiment = w.label[r * LABELS + 1];
        double clean[VOCAB];
        w.x[r * D] = w.z[r * N + 4] = (sae_real)(sentiment ? 3 : 1);
        w.x[r * D + 1] = w.z[r * N + 5] = (sae_real)(gender + 1);
        w.x[r * D + 2] = 1;
        w.z[r * N] = w.x[r * D] - 2;
        w.z[r * N + 1] = w.x[r * D + 1] - 2;
        world_logprob(&w, w.x + r * D, clean);
        for (int v = 0; v < VOCAB; v++)
            w.logprob[r * VOCAB + v] = (sae_real)clean[v];
        w.next[r] = r % 2 ? !sentiment : gender == 2 ? 2 : gender == 0 ? 3 : 4;
    }
}

/* The ranking takes the decoys; the mask, which hears of the model, finds the latents that count,
 * and nothing but them. */
START_TEST(mask_finds_what_counts)
{
    static results o;
    fill_decoys();
    measure(&w, "ravel:first=gender,second=sentiment,stride=1,features=1,steps=20", 7, 0, &o);
    ck_assert(value_of(&o, "cause") == 0 && value_of(&o, "isolation") == 1);
    ck_assert(value_of(&o, "learned_latents_first") == 1);
    ck_assert(value_of(&o, "learned_latents_second") == 1);
    ck_assert(value_of(&o, "learned_cause_first") == 1);
    ck_assert(value_of(&o, "learned_cause_second") == 1);
    ck_assert(value_of(&o, "learned_isolation") == 1);
    ck_assert(value_of(&o, "learned_disentanglement") == 1 && se_of(&o, "learned_cause") == 0);
    measure(&w, "ravel:first=gender,second=sentiment,stride=1,steps=20,rate=0", 7, 0, &o);
    ck_assert(value_of(&o, "learned_latents_first") == 0); /* nothing was learned */
    ck_assert(value_of(&o, "learned_cause") == 0 && value_of(&o, "learned_isolation") == 1);
}
END_TEST

START_TEST(batches_and_merges_agree)
{
    fill_identity(0.5);
    check_two_passes(&w, "ravel:first=gender,second=sentiment,stride=2,repeats=3,features=3");
}
END_TEST

START_TEST(what_is_emitted)
{
    static results o;
    fill_identity(1);
    measure(&w, "ravel", ROWS, 0, &o);
    ck_assert(o.rows == 1 && value_of(&o, "pairs") == 0);
    measure(&w, "ravel:first=gender,second=gender", ROWS, 0, &o);
    ck_assert(o.rows == 1);
}
END_TEST

Suite *suite_ravel(void);
Suite *suite_ravel(void)
{
    Suite *s = suite_create("ravel");
    TCase *t = tcase_create("ravel");
    tcase_add_test(t, whole_rows);
    tcase_add_test(t, nothing_interchanged);
    tcase_add_test(t, disentangled);
    tcase_add_test(t, mask_finds_what_counts);
    tcase_add_test(t, batches_and_merges_agree);
    tcase_add_test(t, what_is_emitted);
    suite_add_tcase(s, t);
    return s;
}
