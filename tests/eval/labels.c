/* tests/eval/labels.c - labels of the rows reach the metrics that read them, with and without
 * passes of a language model. */
#include "eval/rig.h"
#include "models/docs.h"
#include "models/lm_file.h"
#include "run/host.h"

#include <stdlib.h>

enum { D = 64, LABELS = 2 };

static rig g;

/* ---- a metric that counts rows whose label is what `expected` says --------------------------- */

static int (*expected)(const sae_measure *r, const sae_eval *e, int64_t row);

static size_t tally_size(const sae_measure *r)
{
    ck_assert_int_eq(r->label != NULL, r->labels > 0);
    return sizeof(int64_t);
}
static int tally_begin(const sae_measure *r, void *s)
{
    (void)r, (void)s;
    return SAE_OK;
}
static int tally_batch(const sae_measure *r, void *s, const sae_eval *e)
{
    ck_assert_ptr_nonnull(e->label);
    for (int64_t i = 0; i < e->B; i++)
        *(int64_t *)s += expected(r, e, i);
    return SAE_OK;
}
static int tally_merge(const sae_measure *r, void *a, const void *b)
{
    (void)r;
    *(int64_t *)a += *(const int64_t *)b;
    return SAE_OK;
}
static int tally_end(const sae_measure *r, void *s)
{
    sae_row row = {"rows", (double)*(int64_t *)s, 0, 0, "rows", SAE_INFO};
    return r->emit(r->sink, &row);
}
static const sae_metric tally = {.name = "tally", .needs = SAE_MNEED_LABELS, .opt_size = 1,
                                 .options = no_options, .state_size = tally_size,
                                 .begin = tally_begin, .batch = tally_batch,
                                 .merge = tally_merge, .end = tally_end};

static void add_tally(void)
{
    static sae_spec spec;
    spec = (sae_spec){.name = "tally", .metric = &tally, .opts = g.spec[0].opts};
    g.metric[g.metrics] = &spec;
}

static double run_tally(void)
{
    g.metrics++;
    int rc = rig_run(&g, 0);
    g.metrics--;
    ck_assert_ok(rc, g.err);
    return rig_value(&g, 0, "tally.rows");
}

/* ---- rows of the oracle are their labels ----------------------------------------------------- */

static int row_is_label(const sae_measure *r, const sae_eval *e, int64_t row)
{
    const sae_real *column = e->x + row * e->d;
    for (int64_t l = 0; l < r->labels; column += r->label[l++].classes)
        for (int64_t c = 0; c < r->label[l].classes; c++)
            if (column[c] != (sae_real)(e->label[row * r->labels + l] == c))
                return 0;
    return column == e->x + (row + 1) * e->d;
}

START_TEST(labels_of_rows)
{
    sae_spec spec;
    const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};
    rig_open(&g, NULL, 0, D, "ref");
    sae_host host = sae_host_make(&g.e, 5);
    ck_assert_ok(sae_spec_parse(&spec, g.reg, SAE_KIND_DATASET,
                                "organism:model=none,length=21,eval=9", &g.err),
                 g.err);
    ck_assert_ok(sae_stream_open(&g.stream, &spec, &host, &g.e, SAE_NORM_NONE, 33, &g.err), g.err);
    g.src.d = g.stream.dim.d_in;
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "reconstruction");
    rig_metric(&g, "downstream"); /* skipped: this source was opened without a model */
    add_tally();
    expected = row_is_label;
    ck_assert_double_eq(run_tally(), 9 * 20);
    sae_stream_close(&g.stream);
    sae_spec_free(&spec);
    rig_close(&g);
}
END_TEST

/* ---- passes over documents ------------------------------------------------------------------- */

static const sae_label table[LABELS] = {{"id", 512, NULL, 0}, {"pos", 512, NULL, 0}};

static int give_labels(const sae_source *s, const sae_label **labels, int64_t *count)
{
    (void)s;
    *labels = table;
    *count = LABELS;
    return SAE_OK;
}

static int label_is_token(const sae_measure *r, const sae_eval *e, int64_t row)
{
    ck_assert_ptr_eq(r->label, table);
    return e->label[row * LABELS] == (int32_t)e->tok[row].id &&
           e->label[row * LABELS + 1] == (int32_t)e->tok[row].pos;
}

START_TEST(labels_of_documents)
{
    const char *model, *tokens, *text;
    const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};
    static unsigned char exclude[512];
    sae_lm *lm;
    sae_docs *docs;
    if (!(model = test_data("stories260k/stories260K.bin")) ||
        !(tokens = test_data("stories260k/tok512.bin")) ||
        !(text = test_data("tinystories-sample/stories_0001_1800.txt")))
        return;
    rig_open(&g, NULL, 0, D, "ref");
    ck_assert_ok(sae_lm_open(&lm, model, tokens, sae_lm_place_of(&g.e), &g.err), g.err);
    ck_assert_ok(sae_docs_open(lm, text, "<|endoftext|>", 3, &docs, &g.err), g.err);
    sae_docs with = *docs;
    int64_t rows = docs->c.start[docs->c.N];
    int32_t *label = malloc((size_t)rows * LABELS * sizeof *label);
    for (int64_t i = 0; i < docs->c.N; i++)
        for (int64_t t = docs->c.start[i]; t < docs->c.start[i + 1]; t++) {
            label[t * LABELS] = docs->c.tok[t];
            label[t * LABELS + 1] = (int32_t)(t - docs->c.start[i]);
        }
    with.labels = LABELS;
    with.label = label;
    exclude[lm->bos] = 1;
    g.ds.gives = SAE_GIVES_TOKENS | SAE_GIVES_LM | SAE_GIVES_LABELS;
    g.ds.labels = give_labels;
    g.src.view = (sae_lm_view){.lm = lm, .hook = "resid_post.2", .docs = &with,
                               .exclude = exclude};
    g.src.rows = rows - docs->c.N;
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_metric(&g, "downstream");
    add_tally();
    expected = label_is_token;
    ck_assert_double_eq(run_tally(), (double)g.src.rows);
    with.labels = 0;
    g.metrics++;
    ck_assert_int_eq(rig_run(&g, 0), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "documents have no labels"));
    g.metrics--;
    free(label);
    sae_docs_close(&docs);
    sae_lm_close(&lm);
    rig_close(&g);
}
END_TEST

Suite *suite_labels(void)
{
    Suite *s = suite_create("labels");
    TCase *t = tcase_create("labels");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, labels_of_rows);
    tcase_add_test(t, labels_of_documents);
    suite_add_tcase(s, t);
    return s;
}
