/* tests/eval/splice.c - evaluation through a language model: identities that hold exactly, golden
 * losses, and independence of how documents are grouped.
 */
#include "core/log.h"
#include "eval/rig.h"
#include "models/docs.h"
#include "models/lm_file.h"
#include "run/host.h"

#include <jansson.h>
#include <sae/groups.h>
#include <time.h>

enum { D = 64, SUBJECTS = 3, IDENTITY = 0, ZERO = 1, MEAN = 2 };

static rig g, other;
static sae_lm *lm;
static sae_docs *docs;
static unsigned char exclude[512];

/* Outputs row 0 of its dictionary whatever it reads. */
static int run_constant(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    int rc = probe_run(m, c, b, t, 0);
    for (int64_t i = 0; i < b->B * D; i++)
        t->xhat[i] = ((const sae_real *)m->t[0].w)[i % D];
    return rc;
}

/* Mean over the positions >= 1 that predict a token, over all documents: golden.json's mean row. */
static void mean_row(const char *hook, double *mean)
{
    sae_lm_pass *pass;
    int64_t rows = 0;
    memset(mean, 0, D * sizeof *mean);
    ck_assert_ok(lm->begin(lm->self, hook, &docs->c, &pass, &g.err), g.err);
    const float *x = lm->acts(pass);
    for (int64_t i = 0; i < docs->c.N; i++)
        for (int64_t r = docs->c.start[i] + 1; r + 1 < docs->c.start[i + 1]; r++, rows++)
            for (int k = 0; k < D; k++)
                mean[k] += (double)x[r * D + k];
    for (int k = 0; k < D; k++)
        mean[k] /= (double)rows;
    lm->end(&pass);
}

/* The rig over `stories` documents at a hook: three SAEs whose losses are known. */
static int open_lm(int64_t stories, const char *hook)
{
    const char *model, *tokens, *text;
    const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};
    if (!(model = test_data("stories260k/stories260K.bin")) ||
        !(tokens = test_data("stories260k/tok512.bin")) ||
        !(text = test_data("tinystories-sample/stories_0001_1800.txt")))
        return 0;
    rig_open(&g, NULL, 0, D, rig_has("cpu") ? "cpu" : "ref");
    ck_assert_ok(sae_lm_open(&lm, model, tokens, sae_lm_place_of(&g.e), &g.err), g.err);
    ck_assert_ok(sae_docs_open(lm, text, "<|endoftext|>", stories, &docs, &g.err), g.err);
    exclude[lm->bos] = 1;
    g.ds.gives = SAE_GIVES_TOKENS | SAE_GIVES_LM;
    g.src.view = (sae_lm_view){.lm = lm, .hook = hook, .docs = docs, .exclude = exclude};
    g.src.rows = docs->c.start[docs->c.N] - docs->c.N;
    mean_row(hook, g.mean);
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_probe(&g, "mean", run_constant, NULL, none);
    for (int k = 0; k < D; k++)
        ((sae_real *)g.model[MEAN].t[0].w)[k] = (sae_real)g.mean[k];
    rig_metric(&g, "downstream");
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "saebench06");
    return 1;
}

static void close_lm(void)
{
    sae_docs_close(&docs);
    sae_lm_close(&lm);
    rig_close(&g);
}

START_TEST(exact_identities)
{
    if (!open_lm(4, "resid_post.2"))
        return;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.loss_recovered_zero"), 1);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.loss_recovered_mean"), 1);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.kl_recovered"), 1);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.kl_spliced"), 0);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.ce_increase"), 0);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.top_agreement"), 1);
    ck_assert_double_lt(rig_value(&g, ZERO, "downstream.top_agreement"), 1);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "saebench06.ce_loss_score"), 1);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "saebench06.kl_div_score"), 1);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "reconstruction.fvu"), 0);
    ck_assert_double_eq(rig_value(&g, ZERO, "downstream.loss_recovered_zero"), 0);
    ck_assert_double_eq(rig_value(&g, ZERO, "downstream.kl_recovered"), 0);
    ck_assert_double_eq(rig_value(&g, ZERO, "reconstruction.nmse"), 1);
    ck_assert_double_eq(rig_value(&g, MEAN, "downstream.loss_recovered_mean"), 0);
    int64_t scored = docs->c.start[docs->c.N] - docs->c.N; /* every token after BOS */
    ck_assert_int_eq(rig_find(&g, 0, "downstream.ce_clean")->count, scored);
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, g.src.rows);
    /* every position has a KL, that of BOS not counted; the last one has no cross-entropy */
    ck_assert_int_eq(rig_find(&g, 0, "saebench06.kl_div_score")->count, scored);
    ck_assert_int_eq(rig_find(&g, 0, "saebench06.ce_loss_score")->count, scored - docs->c.N);
    close_lm();
}
END_TEST

static int has_result(const char *key)
{
    for (int i = 0; i < g.results; i++)
        if (!strcmp(g.result[i].key, key))
            return 1;
    return 0;
}

/* A metric that only wants the language model gets it, but not at the price of the truth that
 * another needs. */
START_TEST(wants_yield_to_needs)
{
    enum { MOST = 4096, ATOMS = 2 };
    static float x[MOST * D];
    static sae_real dict[ATOMS * D] = {1}, val[MOST * ATOMS];
    sae_code code = {.n = ATOMS, .dense = 1, .val = val};
    if (!open_lm(2, "resid_post.2"))
        return;
    ck_assert_int_le(g.src.rows, MOST);
    for (int64_t i = 0; i < MOST * D; i++)
        x[i] = (float)(i % 7);
    dict[D + 1] = 1;
    g.src.x = x;
    g.src.truth = (sae_truth){ATOMS, D, dict, &code, NULL};
    g.ds.gives |= SAE_GIVES_TRUTH;
    sae_spec_free(&g.spec[0]);
    ck_assert_ok(sae_spec_parse(&g.spec[0], g.reg, SAE_KIND_METRIC, "recovery", &g.err), g.err);
    g.metric[0] = &g.spec[2]; /* saebench06 */
    g.metric[1] = &g.spec[0];
    g.metrics = 1;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert(has_result("saebench06.ce_loss_score") && has_result("saebench06.l0"));
    g.metrics = 2;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert(!has_result("saebench06.ce_loss_score") && has_result("saebench06.l0"));
    ck_assert(has_result("recovery.true_l0"));
    g.metrics = 3; /* what rig_close frees */
    close_lm();
}
END_TEST

/* A metric that asks for passes of its own: with the batch's rows the model is unchanged, with
 * xhat it is the spliced one. */
static size_t inserts_size(const sae_measure *r)
{
    (void)r;
    return sizeof(int64_t);
}
static int inserts_begin(const sae_measure *r, void *s)
{
    (void)r, (void)s;
    return SAE_OK;
}
enum { CAP = 4096 };
/* The gradient tells what a small step along it does to the losses of the tokens expected. */
static void check_gradient(const sae_eval *e, const int32_t *expect)
{
    static double ce[CAP], moved[CAP];
    static sae_real x[CAP * D], grad[CAP * D];
    const sae_insert *in = e->insert;
    double before = 0, after = 0, slope = 0;
    sae_insert_out out = {.ce = ce, .grad = grad, .expect = expect};
    ck_assert_int_eq(in->run(in->self, e->x, &out), SAE_OK);
    for (int64_t i = 0; i < e->B * D; i++)
        slope += (double)grad[i] * (double)grad[i];
    double h = 1e-2 / sqrt(slope);
    for (int64_t i = 0; i < e->B * D; i++)
        x[i] = e->x[i] + (sae_real)(h * (double)grad[i]);
    out = (sae_insert_out){.ce = moved, .expect = expect};
    ck_assert_int_eq(in->run(in->self, x, &out), SAE_OK);
    for (int64_t t = 0; t < e->splice->T; t++) {
        int32_t token = expect ? expect[t] : in->next[t];
        ck_assert(isnan(ce[t]) == (token < 0) && isnan(moved[t]) == (token < 0));
        if (token < 0)
            continue;
        /* float against double */
        ck_assert_double_eq_tol(-(double)in->logprob[in->at[t] * in->vocab + token], ce[t], 1e-5);
        before += ce[t];
        after += moved[t];
    }
    /* second order: relative to the slope, of the size of the step */
    ck_assert_double_eq_tol((after - before) / (h * slope), 1, 0.05);
}
static int inserts_batch(const sae_measure *r, void *state, const sae_eval *e)
{
    (void)r;
    static double ce[CAP], kl[CAP];
    static sae_real grad[CAP * D], logprob[CAP * 512];
    static int32_t expect[CAP];
    const sae_insert *in = e->insert;
    int64_t T = e->splice->T;
    ck_assert_int_le(in->rows, CAP);
    ck_assert_int_eq(in->vocab, 512);
    sae_insert_out all = {ce, kl, logprob, grad, NULL};
    ck_assert_int_eq(in->run(in->self, e->x, &all), SAE_OK);
    ck_assert_mem_eq(ce, e->splice->ce_clean, (size_t)T * sizeof *ce);
    for (int64_t t = 0; t < T; t++) {
        const sae_real *lp = logprob + in->at[t] * in->vocab;
        const sae_token *seen = in->row[t] >= 0 ? &e->tok[in->row[t]] : NULL;
        ck_assert(kl[t] == 0.0);
        ck_assert_mem_eq(lp, in->logprob + in->at[t] * in->vocab, 512 * sizeof *lp);
        ck_assert_double_eq_tol(-(double)lp[in->next[t]], ce[t], 1e-5); /* float against double */
        ck_assert_int_eq(seen == NULL, e->splice->tok[t].pos == 0); /* BOS is not shown */
        if (seen)
            ck_assert(seen->doc == e->splice->tok[t].doc && seen->pos == e->splice->tok[t].pos);
    }
    ck_assert_int_eq(in->run(in->self, e->xhat, &(sae_insert_out){.ce = ce, .kl = kl}), SAE_OK);
    ck_assert_mem_eq(ce, e->splice->ce_splice, (size_t)T * sizeof *ce);
    ck_assert_mem_eq(kl, e->splice->kl_splice, (size_t)T * sizeof *kl);
    check_gradient(e, NULL);
    for (int64_t t = 0; t < T; t++)
        expect[t] = t % 3 ? -1 : (in->next[t] + 7) % 512;
    check_gradient(e, expect);
    *(int64_t *)state += T;
    return SAE_OK;
}
static int inserts_merge(const sae_measure *r, void *a, const void *b)
{
    (void)r, (void)a, (void)b;
    return SAE_OK;
}
static int inserts_end(const sae_measure *r, void *s)
{
    sae_row row = {"tokens", (double)*(int64_t *)s, (double)NAN, 0, "tokens", SAE_INFO};
    return r->emit(r->sink, &row);
}
static const sae_metric inserts_metric = {
    .name = "inserts", .opt_size = 1, .options = no_options,
    .needs = SAE_MNEED_LM | SAE_MNEED_INSERT | SAE_MNEED_XHAT, .state_size = inserts_size,
    .begin = inserts_begin, .batch = inserts_batch, .merge = inserts_merge, .end = inserts_end};

START_TEST(passes_of_a_metric)
{
    if (!open_lm(4, "resid_post.2"))
        return;
    ck_assert_ok(rig_run(&g, 0), g.err);
    memcpy(&other, &g, sizeof g);
    for (int64_t i = g.metrics; i > 0; i--) /* before the others, which it must not disturb */
        g.metric[i] = g.metric[i - 1];
    g.metric[0] = &(sae_spec){.name = "inserts", .metric = &inserts_metric, .opts = g.spec[0].opts};
    g.metrics++;
    ck_assert_ok(rig_run(&g, 0), g.err);
    g.metrics--;
    ck_assert_double_eq(rig_value(&g, 0, "inserts.tokens"),
                        (double)(docs->c.start[docs->c.N] - docs->c.N));
    for (int i = 0; i < other.results; i++) {
        const rig_result *o = rig_find(&g, other.result[i].subject, other.result[i].key);
        ck_assert_mem_eq(&o->value, &other.result[i].value, sizeof o->value);
    }
    close_lm();
}
END_TEST

/* A metric of rows that wants two passes: 1 if both show the same bytes. */
enum { CHANGED_ROWS = 4096 };
static sae_real first_rows[CHANGED_ROWS * D];
static int64_t shown[2];
static int slow; /* the first batch takes longer than lines of progress are held back for */

static size_t twice_size(const sae_measure *r)
{
    (void)r;
    return sizeof(int64_t);
}
static int twice_batch(const sae_measure *r, void *pass, const sae_eval *e)
{
    (void)r;
    sae_real *kept = first_rows + (int64_t)e->row0 * D;
    size_t bytes = (size_t)(e->B * D) * sizeof *kept;
    ck_assert(!e->splice && !e->insert);
    ck_assert_int_le((int64_t)e->row0 + e->B, CHANGED_ROWS);
    if (*(int64_t *)pass == 0)
        memcpy(kept, e->x, bytes);
    ck_assert_mem_eq(kept, e->x, bytes);
    shown[*(int64_t *)pass] += e->B;
    struct timespec wait = {2, 100000000};
    if (slow)
        nanosleep(&wait, NULL);
    slow = 0;
    return SAE_OK;
}
static int64_t twice_passes(const void *opt)
{
    (void)opt;
    return 2;
}
static int twice_end(const sae_measure *r, void *pass)
{
    (void)r;
    return (*(int64_t *)pass)++ ? SAE_OK : SAE_AGAIN;
}
static const sae_metric twice_metric = {.name = "twice", .opt_size = 1, .options = no_options,
                                        .state_size = twice_size, .begin = inserts_begin,
                                        .batch = twice_batch, .merge = inserts_merge,
                                        .end = twice_end, .passes_for = twice_passes};

static int64_t finished;
static int (*true_finish)(sae_lm_pass *pass, const sae_real *x, const sae_lm_out *out,
                          sae_err *err);
static int counted_finish(sae_lm_pass *pass, const sae_real *x, const sae_lm_out *out, sae_err *err)
{
    finished++;
    return true_finish(pass, x, out, err);
}

/* A further pass shows the same rows and leaves out the losses that no one reads. */
START_TEST(a_pass_without_losses)
{
    if (!open_lm(3, "resid_post.2"))
        return;
    sae_lm counted = *lm;
    true_finish = lm->finish;
    counted.finish = counted_finish;
    g.src.view.lm = &counted;
    g.subjects = 1;
    ck_assert_ok(rig_run(&g, 0), g.err);
    int64_t once = finished;
    g.metric[g.metrics++] =
        &(sae_spec){.name = "twice", .metric = &twice_metric, .opts = g.spec[0].opts};
    char text[2000], want[100];
    slow = 1;
    rig_lines(&g, text, sizeof text);
    g.metrics--;
    g.subjects = SUBJECTS;
    ck_assert_int_gt(once, 0);
    ck_assert_int_eq(finished, 2 * once);
    ck_assert_int_eq(shown[0], g.src.rows);
    ck_assert_int_eq(shown[1], g.src.rows);
    /* The model's passes are unchanged, zero, mean, zero everywhere, spliced; then one to the hook.
     * The SAE has two; the ends are those of four metrics, then of one. */
    double passes = (double)g.src.rows * (5 + 1 + 2 + 4 / 4.0 + 1 / 4.0);
    snprintf(want, sizeof want, "100%% %.1fk/%.1fk row passes", passes / 1000, passes / 1000);
    ck_assert_msg(strstr(text, want) != NULL, "%s instead of %s", text, want);
    close_lm();
}
END_TEST

START_TEST(groups_of_documents_do_not_matter)
{
    if (!open_lm(3, "resid_post.1"))
        return;
    ck_assert_ok(rig_run(&g, 0), g.err);
    memcpy(&other, &g, sizeof g);
    static const int64_t B[] = {1, 600, 100000}; /* one document each, a few, all */
    for (size_t i = 0; i < sizeof B / sizeof B[0]; i++) {
        g.stream.B = B[i];
        ck_assert_ok(rig_run(&g, 0), g.err);
        ck_assert_mem_eq(g.result, other.result, sizeof g.result);
    }
    g.stream.B = 1;
    ck_assert_ok(rig_run(&g, 1), g.err); /* stops behind the first document */
    ck_assert_int_eq(rig_find(&g, 0, "reconstruction.mse")->count, docs->c.start[1] - 1);
    close_lm();
}
END_TEST

/* With a target, rows are read at the hook and the model goes on from the target's: decoding the
 * targets changes nothing, decoding their mean row is mean ablation there, and zero ablation is
 * that of an evaluation at that hook. */
START_TEST(spliced_at_the_target)
{
    double mean[D], zero, ablated;
    const char *target = _i ? "resid_post.3" : "mlp_out.2";
    const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};
    if (!open_lm(4, target))
        return;
    memcpy(mean, g.mean, sizeof mean);
    ck_assert_ok(rig_run(&g, 0), g.err);
    zero = rig_value(&g, ZERO, "downstream.ce_zero");
    ablated = rig_value(&g, MEAN, "downstream.ce_spliced");
    close_lm();
    ck_assert(open_lm(4, "resid_post.1"));
    g.src.view.target = target;
    g.src.d_out = D;
    g.stream.target = (sae_norm_const){.scale = 1, .mean = mean};
    g.target = none;
    g.ds.gives |= SAE_GIVES_TARGET;
    rig_probe(&g, "target", run_target, target_needs, none);
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "downstream.ce_increase"), 0);
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "downstream.kl_spliced"), 0);
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "downstream.loss_recovered_mean"), 1);
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "reconstruction.fvu"), 0);
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "downstream.ce_zero"), zero);
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "downstream.ce_mean"), ablated);
    ck_assert_double_eq(rig_value(&g, IDENTITY, "downstream.ce_increase"), 0);
    ck_assert(rig_value(&g, IDENTITY, "downstream.ce_zero") != zero);
    close_lm();
}
END_TEST

/* An SAE that diverged: one value of a batch is infinite. */
static int run_inf(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    int rc = probe_run(m, c, b, t, 1);
    t->xhat[7 * D + 3] = (sae_real)INFINITY;
    return rc;
}

static int loss_warnings, infinite_warnings, other_warnings;

static void count_warnings(void *arg, enum sae_level level, const char *component,
                           const char *message)
{
    (void)arg, (void)component;
    ck_assert_int_eq(level, SAE_LOG_WARN);
    loss_warnings += strstr(message, "inf: the language model's loss with its decoded rows is ") &&
                     strstr(message, " nats at a token");
    infinite_warnings += strstr(message, "inf: reconstruction.mse is infinite") != NULL;
    other_warnings += strncmp(message, "inf: ", 5) != 0 && strstr(message, "loss with its");
}

/* It has no results where others keep theirs, and one line says why, however many batches there
 * are. */
START_TEST(diverged)
{
    const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};
    if (!open_lm(3, "resid_post.2"))
        return;
    rig_probe(&g, "inf", run_inf, NULL, none);
    g.stream.B = 1; /* a document each */
    sae_log_to(count_warnings, NULL, SAE_LOG_WARN);
    ck_assert_ok(rig_run(&g, 0), g.err);
    sae_log_to(NULL, NULL, SAE_LOG_WARN);
    ck_assert_int_eq(loss_warnings, 1);
    ck_assert_int_eq(infinite_warnings, 1);
    ck_assert_int_eq(other_warnings, 0);
    static const char *const without[] = {"ce_spliced", "ce_increase", "loss_recovered_zero",
                                          "loss_recovered_mean", "kl_spliced", "kl_recovered"};
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        char key[64];
        snprintf(key, sizeof key, "downstream.%s", without[i]);
        ck_assert(isnan(rig_value(&g, SUBJECTS, key)));
        ck_assert(isfinite(rig_value(&g, IDENTITY, key)));
    }
    ck_assert_double_eq(rig_value(&g, SUBJECTS, "downstream.ce_clean"),
                        rig_value(&g, IDENTITY, "downstream.ce_clean"));
    close_lm();
}
END_TEST

/* Losses against an independent float64 implementation; golden.json says that float models agree to
 * about 1e-4 relative. */
START_TEST(golden_losses)
{
    enum { LAYER = 2 };
    json_error_t e;
    const char *path = test_data("stories260k/golden.json");
    if (!path || !open_lm(50, "resid_post.2"))
        return;
    json_t *root = json_load_file(path, 0, &e), *c = json_object_get(root, "corpus");
    ck_assert_ptr_nonnull(c);
    double clean = json_number_value(json_object_get(c, "mean_ce_nats"));
    double zero = json_number_value(
        json_array_get(json_object_get(c, "zero_ablation_ce_by_layer"), LAYER));
    double mean = json_number_value(
        json_array_get(json_object_get(c, "mean_ablation_ce_by_layer"), LAYER));
    g.subjects = 1;
    g.metrics = 1;
    g.stream.B = 2048;
    ck_assert_ok(rig_run(&g, 0), g.err);
    g.subjects = SUBJECTS;
    g.metrics = 2;
    ck_assert_int_eq(rig_find(&g, 0, "downstream.ce_clean")->count,
                     json_integer_value(json_object_get(c, "tokens_scored")));
    ck_assert_double_eq_tol(rig_value(&g, 0, "downstream.ce_clean") / clean, 1, 1e-4);
    ck_assert_double_eq_tol(rig_value(&g, 0, "downstream.ce_zero") / zero, 1, 1e-4);
    ck_assert_double_eq_tol(rig_value(&g, 0, "downstream.ce_mean") / mean, 1, 1e-4);
    json_decref(root);
    close_lm();
}
END_TEST

/* The registered source: rows of the captured pass are the rows that fill() gives, so that metrics
 * over rows do not notice whether another metric splices. */
START_TEST(source_and_passes_agree)
{
    const char *model, *tokens, *text;
    const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};
    char dataset[4096];
    sae_spec spec;
    if (!(model = test_data("stories260k/stories260K.bin")) ||
        !(tokens = test_data("stories260k/tok512.bin")) ||
        !(text = test_data("tinystories-sample/stories_0001_1800.txt")))
        return;
    rig_open(&g, NULL, 0, D, "ref");
    sae_host host = sae_host_make(&g.e, 5);
    snprintf(dataset, sizeof dataset,
             "lm:model=\"%s\",tokenizer=\"%s\",text=\"%s\",hook=resid_post.2,docs=10,eval=0.5",
             model, tokens, text);
    ck_assert_ok(sae_spec_parse(&spec, g.reg, SAE_KIND_DATASET, dataset, &g.err), g.err);
    ck_assert_ok(sae_stream_open(&g.stream, &spec, &host, &g.e, SAE_NORM_NONE, 700, &g.err), g.err);
    g.src.d = D; /* of the probes */
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "downstream");
    g.metrics = 1;
    ck_assert_ok(rig_run(&g, 0), g.err);
    memcpy(&other, &g, sizeof g);
    g.metrics = 2;
    ck_assert_ok(rig_run(&g, 0), g.err);
    ck_assert_int_gt(rig_find(&g, 0, "reconstruction.mse")->count, 500);
    ck_assert_mem_eq(g.result, other.result, (size_t)other.results * sizeof g.result[0]);
    ck_assert_double_eq(rig_value(&g, 0, "downstream.loss_recovered_zero"), 0);
    sae_stream_close(&g.stream);
    sae_spec_free(&spec);
    rig_close(&g);
}
END_TEST

/* Whichever allocation fails, everything is given back. */
START_TEST(memory_is_given_back)
{
    if (!open_lm(1, "resid_post.4"))
        return;
    ck_assert_ok(rig_run(&g, 0), g.err);
    g.subjects = 1;
    rig_fail_each(&g, 0);
    g.subjects = SUBJECTS;
    close_lm();
}
END_TEST

Suite *suite_splice(void)
{
    Suite *s = suite_create("splice");
    TCase *t = tcase_create("splice");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, exact_identities);
    tcase_add_test(t, wants_yield_to_needs);
    tcase_add_test(t, passes_of_a_metric);
    tcase_add_test(t, a_pass_without_losses);
    tcase_add_test(t, groups_of_documents_do_not_matter);
    tcase_add_loop_test(t, spliced_at_the_target, 0, 2);
    tcase_add_test(t, diverged);
    tcase_add_test(t, golden_losses);
    tcase_add_test(t, source_and_passes_agree);
    tcase_add_test(t, memory_is_given_back);
    suite_add_tcase(s, t);
    return s;
}
