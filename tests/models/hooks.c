/* tests/models/hooks.c - what is built around passes, at hooks of every width: captures with
 * gradients, the live source, splices and ablations, against documents run one by one. */
#include "lm_models.h"
#include "lm_util.h"

#include "core/file.h"
#include "core/memory.h"
#include "core/shards.h"
#include "core/spec.h"
#include "eval/splice.h"
#include "models/capture.h"
#include "models/lm_eval.h"
#include "models/lm_file.h"
#include "support/stand_in.h"

#include <math.h>
#include <sae/groups.h>
#include <string.h>

enum { WIDEST = 40 /* of any model */, HOOKS = 4, CASES = LM_CONFIGS * HOOKS, LONGEST = LM_CTX };
static const char *const hooks[HOOKS] = {"attn_z.1", "mlp_act.0", "resid_mid.1", "mlp_out.1"};

/* A random model, the stand-in's documents, and a hook. */
typedef struct world {
    lm_fixture f;
    sae_lm_model *m;
    const char *hook;
    int64_t width;
    unsigned char exclude[64];
    sae_host host;
} world;

static world w;

static int open_model(const sae_host *host, const char *path, const char *tokenizer, sae_lm **lm,
                      sae_err *err)
{
    (void)host, (void)path, (void)tokenizer, (void)err;
    *lm = &w.m->api;
    return SAE_OK;
}

/* Case i: model i / HOOKS at hook i % HOOKS; 0 when it has no such hook. */
static int open_world(int i)
{
    sae_lm_source src = {NULL, lm_random_part};
    sae_lm_config c = lm_config(i / HOOKS);
    c.bos = LM_BOS; /* of the documents */
    c.eos = LM_EOS;
    memset(&w, 0, sizeof w);
    w.hook = hooks[i % HOOKS];
    if (c.parallel && !strcmp(w.hook, "resid_mid.1"))
        return 0;
    lm_engine(&w.f, 2);
    ck_assert_ok(sae_lm_model_open(&w.m, &c, &src, sae_lm_place_of(&w.f.e), &w.f.err), w.f.err);
    ck_assert_ok(w.m->api.hook(w.m, w.hook, &w.width, &w.f.err), w.f.err);
    ck_assert(w.width <= WIDEST && c.vocab <= 64 && c.vocab >= LM_VOCAB);
    w.exclude[LM_BOS] = 1;
    w.host = stand_in_host(9);
    w.host.lm_open = open_model;
    sae_docs *docs;
    return w.host.docs_open(&w.m->api, "a", "", 0, &docs, &w.f.err) >= 0;
}

static void close_world(void)
{
    sae_lm_model_close(&w.m);
    lm_engine_close(&w.f);
}

/* A document by itself. */
typedef struct alone {
    int64_t rows;
    const int32_t *tok;
    float acts[LONGEST * WIDEST], grad[LONGEST * WIDEST];
    double ce[LONGEST]; /* with rows of tokens that are not excluded replaced by fill */
} alone;

static void run_alone(alone *a, int64_t doc, const float *fill)
{
    const sae_contexts *c = &stand_in_docs.c;
    int64_t start[2] = {0, c->start[doc + 1] - c->start[doc]};
    float x[LONGEST * WIDEST];
    sae_lm_pass *pass;
    a->rows = start[1];
    a->tok = c->tok + c->start[doc];
    sae_contexts one = {1, start, a->tok};
    size_t row = (size_t)w.width * sizeof *x;
    ck_assert_ok(w.m->api.begin(w.m, w.hook, &one, &pass, &w.f.err), w.f.err);
    memcpy(a->acts, w.m->api.acts(pass), (size_t)a->rows * row);
    memcpy(x, a->acts, (size_t)a->rows * row);
    for (int64_t r = 0; fill && r < a->rows; r++)
        if (!w.exclude[a->tok[r]])
            memcpy(x + r * w.width, fill, row);
    ck_assert_ok(w.m->api.finish(pass, NULL, &(sae_lm_out){.grad = a->grad}, &w.f.err), w.f.err);
    ck_assert_ok(w.m->api.finish(pass, x, &(sae_lm_out){.ce = a->ce}, &w.f.err), w.f.err);
    w.m->api.end(&pass);
}

/* ---- captures -------------------------------------------------------------------------------- */

static const enum sae_st_dtype types[] = {SAE_ST_F32, SAE_ST_F16, SAE_ST_BF16};

static char *capture(enum sae_st_dtype acts, enum sae_st_dtype grads)
{
    char *dir = sae_path_join(test_dir(), "acts"), *text = sae_path_join(test_dir(), "text");
    int64_t rows;
    ck_assert_ok(sae_file_write(text, "a", 1, &w.f.err), w.f.err);
    sae_capture c = {.lm = &w.m->api,
                     .hook = w.hook,
                     .docs = &stand_in_docs,
                     .exclude = w.exclude,
                     .dir = dir,
                     .model = "m",
                     .text = text,
                     .dtype = acts,
                     .rows_per_shard = 100,
                     .grads = 1,
                     .grads_dtype = grads,
                     .batch = 60};
    ck_assert_ok(sae_capture_run(&c, &rows, &w.f.err), w.f.err);
    sae_free(text);
    return dir;
}

static void assert_row(const float *want, const void *data, enum sae_st_dtype t, int64_t row,
                       const char *what)
{
    size_t bytes = (size_t)w.width * sae_st_dtype_size(t);
    char raw[WIDEST * sizeof(float)];
    sae_st_from_f32(t, want, w.width, raw);
    ck_assert_msg(memcmp(raw, (const char *)data + (size_t)row * bytes, bytes) == 0,
                  "%s of row %d at %s", what, (int)row, w.hook);
}

/* Stored rows are those of every document run alone, rounded once to the format on disk. */
START_TEST(captured_rows)
{
    if (!open_world(_i))
        return;
    enum sae_st_dtype acts = types[_i % 3], grads = types[(_i / 3) % 3];
    char *dir = capture(acts, grads);
    sae_shards *s;
    static alone a;
    int64_t shard = 0, row = 0;
    int any = 0;
    ck_assert_ok(sae_shards_open(dir, &s, &w.f.err), w.f.err);
    ck_assert_int_eq(s->d, w.width);
    for (int64_t doc = 0; doc < LM_DOCS; doc++) {
        run_alone(&a, doc, NULL);
        for (int64_t r = 0; r < a.rows; r++) {
            if (w.exclude[a.tok[r]])
                continue;
            if (row == s->shard[shard].rows) {
                shard++;
                row = 0;
            }
            const sae_shard *h = &s->shard[shard];
            ck_assert(h->doc[row] == (uint64_t)doc && h->pos[row] == (uint32_t)r);
            assert_row(a.acts + r * w.width, h->acts, acts, row, "activations");
            assert_row(a.grad + r * w.width, h->grads, grads, row++, "gradient");
            any |= a.grad[r * w.width] != 0.0f;
        }
    }
    ck_assert(any && shard == s->count - 1 && row == s->shard[shard].rows);
    sae_shards_close(&s);
    sae_free(dir);
    close_world();
}
END_TEST

/* ---- sources --------------------------------------------------------------------------------- */

/* Every row of both splits of a source, sorted by place. */
typedef struct rows {
    int64_t n;
    sae_token *tok;
    sae_real *x, *g;
} rows;

static int by_place(const sae_token *a, const sae_token *b)
{
    return a->doc != b->doc ? (a->doc < b->doc ? -1 : 1) : (a->pos > b->pos) - (a->pos < b->pos);
}

static void read_source(const sae_registry *reg, const char *text, rows *out)
{
    sae_spec spec;
    sae_source *s;
    sae_dims dim;
    ck_assert_ok(sae_spec_parse(&spec, reg, SAE_KIND_DATASET, text, &w.f.err), w.f.err);
    const sae_dataset *ds = spec.dataset;
    ck_assert_ok(ds->open(&s, sae_opts_base(spec.opts), &w.host, &dim, &w.f.err), w.f.err);
    ck_assert_int_eq(dim.d_in, w.width);
    ck_assert(sae_source_gives(ds, s) & SAE_GIVES_GRAD);
    int64_t split[2] = {ds->rows(s, SAE_SPLIT_TRAIN), ds->rows(s, SAE_SPLIT_EVAL)};
    out->n = split[0] + split[1];
    size_t values = (size_t)(out->n * w.width);
    out->tok = calloc((size_t)out->n, sizeof *out->tok);
    out->x = calloc(values, sizeof *out->x);
    out->g = calloc(values, sizeof *out->g);
    for (int64_t k = 0, at = 0; k < 2; at += split[k++])
        ck_assert_ok(ds->fill(s, (enum sae_split)k, 0, split[k],
                              &(sae_fill){.x = out->x + at * w.width,
                                          .g = out->g + at * w.width,
                                          .tok = out->tok + at},
                              &w.f.err),
                     w.f.err);
    ds->close(&s);
    sae_spec_free(&spec);
}

static void free_rows(rows *r)
{
    free(r->tok);
    free(r->x);
    free(r->g);
}

/* A place has the same activations and gradients from disk and live, bit for bit. */
START_TEST(disk_and_live)
{
    if (!open_world(_i))
        return;
    char *dir = capture(SAE_ST_F32, SAE_ST_F32);
    char *disk = sae_strfmt("shards:dir=\"%s\",eval=0.3", dir);
    char *live = sae_strfmt("lm:model=m,text=a,hook=%s,eval=0.3,buffer=70,batch=40", w.hook);
    sae_registry *reg;
    rows a, b;
    ck_assert_ok(sae_registry_open(&reg, &w.f.err), w.f.err);
    read_source(reg, disk, &a);
    read_source(reg, live, &b);
    ck_assert_int_eq(a.n, b.n);
    size_t bytes = (size_t)w.width * sizeof *a.x;
    for (int64_t r = 0; r < a.n; r++) {
        int64_t i = 0;
        while (i < b.n && by_place(&a.tok[r], &b.tok[i]))
            i++;
        ck_assert_msg(i < b.n, "row %d is not in the live source", (int)r);
        ck_assert(a.tok[r].id == b.tok[i].id);
        ck_assert(memcmp(a.x + r * w.width, b.x + i * w.width, bytes) == 0);
        ck_assert(memcmp(a.g + r * w.width, b.g + i * w.width, bytes) == 0);
    }
    free_rows(&a);
    free_rows(&b);
    sae_registry_close(&reg);
    sae_free(disk);
    sae_free(live);
    sae_free(dir);
    close_world();
}
END_TEST

/* ---- splices and ablations ------------------------------------------------------------------- */

/* Losses of documents [first, ...) of a group against those of each document alone. */
static void assert_losses(const sae_splice *out, int64_t first, int64_t next, const float *fill,
                          const double *ce)
{
    static alone a;
    int64_t t = 0;
    for (int64_t doc = first; doc < next; doc++) {
        run_alone(&a, doc, fill);
        for (int64_t r = 0; r + 1 < a.rows; r++, t++)
            ck_assert_msg(ce[t] == a.ce[r], "document %d, position %d of %s: %.17g, alone %.17g",
                          (int)doc, (int)r, w.hook, ce[t], a.ce[r]);
    }
    ck_assert_int_eq(t, out->T);
}

/* The positions that predict a token in order, then the last one of every document. */
static void assert_positions(const sae_splice *out, int64_t first, int64_t next)
{
    const sae_contexts *c = &stand_in_docs.c;
    int64_t p = out->T;
    for (int64_t doc = first; doc < next; doc++, p++)
        ck_assert(out->tok[p].doc == (uint64_t)doc &&
                  out->tok[p].pos + 1 == (uint32_t)(c->start[doc + 1] - c->start[doc]));
    ck_assert_int_eq(p, out->P);
    for (p = 0; p < out->P; p++)
        ck_assert(out->kept[p] == !w.exclude[out->tok[p].id]);
}

/* Replacing rows by themselves changes nothing; by zeros and by the mean, what it does to a
 * document alone. Rows and gradients handed to SAEs are the model's. */
START_TEST(splices)
{
    if (!open_world(_i))
        return;
    static alone a;
    static sae_real x[200 * WIDEST], g[200 * WIDEST];
    sae_token tok[200];
    double mean[WIDEST];
    float fill[WIDEST];
    const float zeros[WIDEST] = {0};
    const sae_lm_view view = {.lm = &w.m->api, .hook = w.hook, .docs = &stand_in_docs,
                              .exclude = w.exclude};
    sae_splicer s;
    for (int j = 0; j < WIDEST; j++)
        fill[j] = (float)(mean[j] = (j % 7 - 3) / 8.0);
    sae_splicer_shape shape = {.d_in = w.width, .d = w.width, .budget = 200, .zero_all = 1};
    ck_assert_ok(sae_splicer_open(&s, &view, mean, &shape, &w.f.err), w.f.err);
    const sae_fill to = {.x = x, .g = g, .tok = tok};
    for (int64_t first = 0; first < LM_DOCS; first = s.next) {
        ck_assert_ok(sae_splicer_next(&s, &to, &w.f.err), w.f.err);
        ck_assert_ok(sae_splicer_splice(&s, x, &w.f.err), w.f.err);
        for (int64_t t = 0; t < s.out.T; t++)
            ck_assert(s.out.ce_splice[t] == s.out.ce_clean[t]);
        for (int64_t p = 0; p < s.out.P; p++)
            ck_assert(s.out.kl_splice[p] == 0.0 && s.out.top_splice[p] == s.out.top_clean[p]);
        assert_positions(&s.out, first, s.next);
        assert_losses(&s.out, first, s.next, NULL, s.out.ce_clean);
        assert_losses(&s.out, first, s.next, zeros, s.out.ce_zero);
        assert_losses(&s.out, first, s.next, fill, s.out.ce_mean);
        memset(w.exclude, 0, sizeof w.exclude);
        assert_losses(&s.out, first, s.next, zeros, s.out.ce_zero_all);
        w.exclude[LM_BOS] = 1;
        for (int64_t i = 0; i < s.kept; i++) {
            if (i == 0 || tok[i].doc != tok[i - 1].doc)
                run_alone(&a, (int64_t)tok[i].doc, NULL);
            size_t bytes = (size_t)w.width * sizeof *x, at = tok[i].pos * (size_t)w.width;
            ck_assert(memcmp(x + i * w.width, a.acts + at, bytes) == 0);
            ck_assert(memcmp(g + i * w.width, a.grad + at, bytes) == 0);
        }
    }
    sae_splicer_close(&s);
    close_world();
}
END_TEST

/* Going on from one hook to a later one is beginning there: activations, losses and gradients, bit
 * for bit; going back is refused and leaves the pass as it is. */
START_TEST(advances)
{
    static const char *const kinds[] = {"resid_pre", "attn_z", "attn_out", "resid_mid",
                                        "mlp_act", "mlp_out", "resid_post"};
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    if (!open_world(_i * HOOKS))
        return;
    const sae_lm *m = &w.m->api;
    sae_contexts c = stand_in_docs.c;
    c.N = 5;
    int64_t count = c.start[c.N];
    float *grad[2] = {calloc((size_t)count, WIDEST * sizeof(float)),
                      calloc((size_t)count, WIDEST * sizeof(float))};
    double *ce[2] = {calloc((size_t)count, sizeof(double)), calloc((size_t)count, sizeof(double))};
    for (int64_t a = 0; a < KINDS * m->layers; a++)
        for (int64_t b = 0; b < KINDS * m->layers; b++) {
            char from[32], to[32];
            sae_lm_pass *moved, *direct;
            int64_t d;
            sae_err err = {0};
            snprintf(from, sizeof from, "%s.%d", kinds[a % KINDS], (int)(a / KINDS));
            snprintf(to, sizeof to, "%s.%d", kinds[b % KINDS], (int)(b / KINDS));
            if (m->hook(m->self, from, &d, &err) < 0 || m->hook(m->self, to, &d, &err) < 0)
                continue; /* resid_mid of parallel models */
            ck_assert_ok(m->begin(m->self, from, &c, &moved, &err), err);
            int same = a % KINDS == KINDS - 1 && b == a + 1; /* resid_post.L is resid_pre.L+1 */
            if (b <= a || same) {
                ck_assert_int_eq(m->advance(moved, to, &err), SAE_EINVAL);
                ck_assert_msg(strstr(err.msg, to) != NULL, "%s", err.msg);
                m->end(&moved);
                continue;
            }
            ck_assert_ok(m->advance(moved, to, &err), err);
            ck_assert_ok(m->begin(m->self, to, &c, &direct, &err), err);
            ck_assert_msg(
                !memcmp(m->acts(moved), m->acts(direct), (size_t)(count * d) * sizeof(float)),
                "%s to %s", from, to);
            sae_lm_out out[2] = {{.ce = ce[0], .grad = grad[0]}, {.ce = ce[1], .grad = grad[1]}};
            ck_assert_ok(m->finish(moved, NULL, &out[0], &err), err);
            ck_assert_ok(m->finish(direct, NULL, &out[1], &err), err);
            ck_assert(!memcmp(ce[0], ce[1], (size_t)count * sizeof(double)));
            ck_assert(!memcmp(grad[0], grad[1], (size_t)(count * d) * sizeof(float)));
            m->end(&moved);
            m->end(&direct);
        }
    for (int i = 0; i < 2; i++) {
        free(grad[i]);
        free(ce[i]);
    }
    close_world();
}
END_TEST

/* lm eval's zero ablation is the mean of the documents' losses; only BOS keeps its row. The sums by
 * group of documents are the same, term by term. */
START_TEST(ablations)
{
    if (!open_world(_i))
        return;
    static alone a;
    static const float zeros[WIDEST];
    sae_lm_ablation how;
    sae_lm_score got;
    char text[80];
    double group[SAE_GROUPS] = {0}, nats = 0;
    int64_t tokens = 0;
    snprintf(text, sizeof text, "%s=zero", w.hook);
    ck_assert_ok(sae_lm_ablation_parse(&how, &w.m->api, text, &w.f.err), w.f.err);
    ck_assert_ok(sae_lm_score_docs(&w.m->api, &stand_in_docs, &how, NULL, &got, &w.f.err), w.f.err);
    for (int64_t doc = 0; doc < LM_DOCS; doc++) {
        run_alone(&a, doc, zeros);
        for (int64_t r = 0; r + 1 < a.rows; r++, tokens++)
            group[sae_group_of(stand_in_docs.doc[doc])] += a.ce[r];
    }
    for (int i = 0; i < SAE_GROUPS; i++)
        nats += group[i];
    double ce = nats / (double)tokens;
    ck_assert_int_eq(got.all.tokens, tokens);
    ck_assert_msg(got.all.ce == ce, "%.17g, alone %.17g", got.all.ce, ce);
    how.mean = 1;
    ck_assert_ok(sae_lm_score_docs(&w.m->api, &stand_in_docs, &how, NULL, &got, &w.f.err), w.f.err);
    ck_assert(isfinite(got.all.ce) && got.all.ce != ce && got.all.tokens == tokens);
    close_world();
}
END_TEST

START_TEST(names_of_one_place)
{
    static const char *const same[][2] = {{"resid_post.2", "resid_pre.3"},
                                          {"blocks.0.hook_resid_post", "resid_post.0"},
                                          {"blocks.1.attn.hook_z", "attn_z.1"}};
    static const char *const other[][2] = {{"resid_post.2", "resid_post.3"},
                                           {"resid_pre.2", "resid_mid.2"},
                                           {"attn_out.1", "attn_z.1"},
                                           {"mlp_act.0", "resid_mid.0"},
                                           {"mlp.1", "mlp.1"}}; /* no hook */
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(sae_lm_same_hook(same[i][0], same[i][1]), "%s", same[i][0]);
        ck_assert_msg(sae_lm_same_hook(same[i][1], same[i][0]), "%s", same[i][1]);
    }
    for (int i = 0; i < 5; i++)
        ck_assert_msg(!sae_lm_same_hook(other[i][0], other[i][1]), "%s", other[i][0]);
}
END_TEST

Suite *suite_hooks(void)
{
    Suite *s = suite_create("hooks");
    TCase *tc = tcase_create("hooks");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, names_of_one_place);
    tcase_add_loop_test(tc, captured_rows, 0, CASES);
    tcase_add_loop_test(tc, disk_and_live, 0, CASES);
    tcase_add_loop_test(tc, splices, 0, CASES);
    tcase_add_loop_test(tc, ablations, 0, CASES);
    tcase_add_loop_test(tc, advances, 0, LM_CONFIGS);
    suite_add_tcase(s, tc);
    return s;
}
