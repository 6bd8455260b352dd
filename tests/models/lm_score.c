/* tests/models/lm_score.c - scores of documents against the model's own losses: by class, against
 * the exact surprisal, with errors over documents; unigram and bigram models counted by hand. */
#include "lm_models.h"
#include "lm_util.h"

#include "core/memory.h"
#include "models/lm_baseline.h"
#include "models/lm_eval.h"

#include <math.h>
#include <sae/groups.h>
#include <string.h>

enum { DOCS = 300, T = 9, CLASSES = 3, LABELS = 2 };

/* ---- scores ---------------------------------------------------------------------------------- */

static int64_t start[DOCS + 1];
static int32_t tok[DOCS * T], label[DOCS * T * LABELS];
static uint64_t doc[DOCS];
static double nats[DOCS * T];
static const sae_docs docs = {
    .c = {DOCS, start, tok}, .doc = doc, .labels = LABELS, .label = label, .nats = nats};

/* Documents of 1 to T tokens; label 1 is -1, 0 or 1, class 2 never occurs. BOS has no surprisal. */
static void make_docs(int64_t vocab)
{
    for (int64_t i = 0; i < DOCS; i++) {
        int64_t length = 1 + i % T;
        start[i + 1] = start[i] + length;
        doc[i] = (uint64_t)i + 1000;
        for (int64_t r = start[i]; r < start[i + 1]; r++) {
            sae_u4 u = sae_philox(5, SAE_STREAM_SYNTHETIC, (uint64_t)r, 0);
            tok[r] = (int32_t)(u.v[0] % (uint32_t)vocab);
            label[r * LABELS] = 0;
            label[r * LABELS + 1] = (int32_t)(u.v[1] % 3) - 1;
            nats[r] = r == start[i] ? (double)NAN : (double)sae_u01(u.v[2]);
        }
    }
}

static void near(double value, double want, const char *what)
{
    ck_assert_msg(fabs(value - want) <= 1e-12 * (1 + fabs(want)), "%s: %.17g, expected %.17g", what,
                  value, want);
}

/* Sums of at most 2400 terms of at most 20 nats in another order: 1e-12 is a thousand times their
 * rounding. */
START_TEST(parts_and_gaps)
{
    lm_fixture f;
    sae_lm_model *m = NULL;
    sae_lm_config c = lm_config(0);
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_pass *pass = NULL;
    sae_lm_loss part[CLASSES];
    sae_lm_by by = {1, CLASSES, part};
    sae_lm_score s;
    double *ce = NULL, ce_of[CLASSES + 1] = {0}, nats_of[CLASSES + 1] = {0};
    int64_t count[CLASSES + 1] = {0};
    lm_engine(&f, 0);
    ck_assert_ok(sae_lm_model_open(&m, &c, &src, sae_lm_place_of(&f.e), &f.err), f.err);
    make_docs(c.vocab);
    ck_assert_ok(sae_lm_score_docs(&m->api, &docs, NULL, &by, &s, &f.err), f.err);
    ck_assert_ok(sae_new(&ce, start[DOCS], sizeof *ce, "test", &f.err), f.err);
    ck_assert_ok(m->api.begin(m, "resid_pre.0", &docs.c, &pass, &f.err), f.err);
    ck_assert_ok(m->api.finish(pass, NULL, &(sae_lm_out){.ce = ce}, &f.err), f.err);
    m->api.end(&pass);
    for (int64_t i = 0; i < DOCS; i++)
        for (int64_t r = start[i] + 1; r < start[i + 1]; r++) {
            int32_t of[2] = {CLASSES, label[r * LABELS + 1]};
            for (int k = 0; k < 2 && of[k] >= 0; k++) {
                count[of[k]]++;
                ce_of[of[k]] += ce[r - 1];
                nats_of[of[k]] += nats[r];
            }
        }
    for (int k = 0; k <= CLASSES; k++) {
        const sae_lm_loss *l = k < CLASSES ? &part[k] : &s.all;
        double n = (double)count[k];
        ck_assert_int_eq(l->tokens, count[k]);
        if (count[k] == 0) {
            ck_assert(k == 2 && isnan(l->ce) && isnan(l->gap) && isnan(l->gap_se));
            continue;
        }
        near(l->ce, ce_of[k] / n, "loss");
        near(l->surprisal, nats_of[k] / n, "surprisal");
        near(l->gap, (ce_of[k] - nats_of[k]) / n, "gap");
        ck_assert(l->ce_se > 0 && l->gap_se > 0);
    }
    sae_free(ce);
    sae_lm_model_close(&m);
    lm_engine_close(&f);
}
END_TEST

/* Document 0 has no token to score. */
START_TEST(logits_that_are_not_finite)
{
    lm_fixture f;
    sae_lm_model *m = NULL;
    sae_lm_config c = lm_config(3);
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_score s;
    lm_engine(&f, 0);
    ck_assert_ok(sae_lm_model_open(&m, &c, &src, sae_lm_place_of(&f.e), &f.err), f.err);
    make_docs(c.vocab);
    m->w.base[m->w.head_b - m->w.base] = INFINITY;
    ck_assert_int_eq(sae_lm_score_docs(&m->api, &docs, NULL, NULL, &s, &f.err), SAE_ENONFINITE);
    ck_assert_msg(strstr(f.err.msg, "document 1, position 0: ") != NULL, "%s", f.err.msg);
    sae_lm_model_close(&m);
    lm_engine_close(&f);
}
END_TEST

/* ---- baselines ------------------------------------------------------------------------------- */

/* TRAIN: 0 1 2 1 and 0 1; EVAL: 0 1 2 and 0 2. */
static int hand_docs(void *self, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                     sae_err *err)
{
    static const int64_t train_start[] = {0, 4, 6}, eval_start[] = {0, 3, 5};
    static const int32_t train_tok[] = {0, 1, 2, 1, 0, 1}, eval_tok[] = {0, 1, 2, 0, 2};
    static const uint64_t number[] = {0, 1};
    (void)self, (void)err;
    ck_assert(doc0 == 0 && N == 2);
    *out = split == SAE_SPLIT_TRAIN ? (sae_docs){.c = {2, train_start, train_tok}, .doc = number}
                                    : (sae_docs){.c = {2, eval_start, eval_tok}, .doc = number};
    return SAE_OK;
}

/* Counts: 1 three times, 2 once, N = 4, V = 5; pairs 01 01 12 21. */
START_TEST(baselines_by_hand)
{
    sae_lm_corpus corpus = {NULL, hand_docs, 2, "hand"};
    sae_lm_baseline b;
    sae_err err = {0};
    ck_assert_ok(sae_lm_baseline_score(&corpus, 5, 2, 2, &b, &err), err);
    double p1 = 4.0 / 9, p2 = 2.0 / 9;
    near(b.uniform, log(5), "uniform");
    near(b.unigram, -(log(p1) + 2 * log(p2)) / 3, "unigram");
    near(b.bigram, -(log((2 + p1) / 3) + log((1 + p2) / 2) + log(p2 / 3)) / 3, "bigram");
    ck_assert_int_eq(b.trained, 4);
    ck_assert_int_eq(b.scored, 3);
    for (uint64_t i = 1; i <= 4; i++) { /* words, pairs, and their numbers */
        size_t live = sae_alloc_live();
        sae_alloc_fail_at(i);
        ck_assert_int_eq(sae_lm_baseline_score(&corpus, 5, 2, 2, &b, NULL), SAE_ENOMEM);
        sae_alloc_fail_at(0);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
    ck_assert_int_eq(sae_lm_baseline_score(&corpus, 2, 2, 2, &b, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "token 2: the model's vocabulary ends at 1"));
}
END_TEST

Suite *suite_lm_score(void)
{
    Suite *s = suite_create("lm_score");
    TCase *tc = tcase_create("lm_score");
    tcase_add_test(tc, parts_and_gaps);
    tcase_add_test(tc, logits_that_are_not_finite);
    tcase_add_test(tc, baselines_by_hand);
    suite_add_tcase(s, tc);
    return s;
}
