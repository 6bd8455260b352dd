/* tests/models/lm_parity.c - every architecture against the values of the reference library, on the
 * small models of tests/golden/data/lm.
 *
 * Bound: a value may be off by BOUND times the largest value of its tensor, the size of the terms
 * it is made of. BOUND is 400 roundings of 2^-24 = 2.4e-5: a block is four sums of 12 to 40 terms
 * in a row, norms and the sum over keys, below 200 roundings from its input to its output, and the
 * models have two to four blocks, whose errors are independent and in the mean pass on unamplified
 * (the library run in float32 is within 1e-6 for values, 2.4e-6 for gradients). The nearest wrong
 * choice, tanh in place of the exact GELU, is beyond it.
 */
#include "lm_util.h"

#include "core/safetensors.h"

#include "models/lm_tape.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char folder[] = "tests/golden/data/lm";
#define BOUND (400 * 0x1p-24)
enum { MODELS = 11, NAME = 64 };

typedef struct parity {
    lm_fixture f;
    sae_lm *lm;
    sae_st *st;
    sae_contexts c;
    int64_t start[3];
    int64_t rows;
    char arch[256]; /* name of the directory */
} parity;

/* ---- fixtures -------------------------------------------------------------------------------- */

static int is_model(const struct dirent *e)
{
    char path[512];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s/golden.safetensors", folder, e->d_name);
    return stat(path, &s) == 0;
}

/* Integers of the golden file, int32. */
static const int32_t *integers(const parity *p, const char *name, int64_t count)
{
    const sae_st_tensor *t = NULL;
    ck_assert_ok(sae_st_need(p->st, name, 1, &count, &t, NULL), p->f.err);
    ck_assert_int_eq(t->dtype, SAE_ST_I32);
    return t->data;
}

/* The i-th directory in alphabetical order. */
static void open_parity(parity *p, int i)
{
    struct dirent **e = NULL;
    char path[512], golden[640];
    memset(p, 0, sizeof *p);
    int n = scandir(folder, &e, is_model, alphasort);
    ck_assert_int_eq(n, MODELS);
    snprintf(p->arch, sizeof p->arch, "%s", e[i]->d_name);
    for (int k = 0; k < n; k++)
        free(e[k]);
    free(e);
    snprintf(path, sizeof path, "%s/%s", folder, p->arch);
    snprintf(golden, sizeof golden, "%s/golden.safetensors", path);
    lm_setup(&p->f, path, "");
    p->lm = p->f.lm;
    ck_assert_ok(sae_st_open(&p->st, golden, &p->f.err), p->f.err);
    const int32_t *start = integers(p, "start", 3);
    for (int k = 0; k < 3; k++)
        p->start[k] = start[k];
    p->rows = p->start[2];
    p->c = (sae_contexts){2, p->start, integers(p, "tok", p->rows)};
}

static void close_parity(parity *p)
{
    sae_st_close(&p->st);
    lm_teardown(&p->f);
}

/* The tensor called prefix + name, [rows x cols] (cols 0: [rows]); free() it. NULL: not there. */
static float *golden(const parity *p, const char *prefix, const char *name, int64_t cols)
{
    char key[NAME];
    snprintf(key, sizeof key, "%s%s", prefix, name);
    if (!sae_st_find(p->st, key))
        return NULL;
    int64_t shape[2] = {p->rows, cols}, count = p->rows * (cols ? cols : 1);
    const sae_st_tensor *t = NULL;
    sae_err err = {0};
    ck_assert_ok(sae_st_need(p->st, key, cols ? 2 : 1, shape, &t, &err), err);
    float *v = calloc((size_t)count, sizeof *v);
    ck_assert_ok(sae_st_floats(p->st, t, 0, count, 1, v, &err), err);
    return v;
}

static void near(const parity *p, const char *hook, const char *what, const sae_real *got,
                 const float *want, int64_t count)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)want[i]));
    ck_assert_double_gt(largest, 0);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= BOUND * largest,
                      "%s, %s, %s: %.8g at %lld, expected %.8g; largest %.3g", p->arch, hook, what,
                      (double)got[i], (long long)i, (double)want[i], largest);
}

/* Losses; NaN where nothing is predicted (there the file has 0). */
static void near_losses(const parity *p, const char *hook, const char *what, const double *ce,
                        const float *want)
{
    sae_real *got = calloc((size_t)p->rows, sizeof *got);
    for (int64_t c = 0; c < p->c.N; c++)
        for (int64_t r = p->start[c]; r < p->start[c + 1]; r++) {
            int last = r + 1 == p->start[c + 1];
            ck_assert_msg(last == !!isnan(ce[r]), "%s: loss %g of row %d", p->arch, ce[r], (int)r);
            got[r] = last ? 0 : (sae_real)ce[r];
        }
    near(p, hook, what, got, want, p->rows);
    free(got);
}

/* Hooks of layer l, ours and TransformerLens' names. The file has no resid_pre of later layers: it
 * is resid_post of the layer before. */
static const struct {
    const char *ours, *theirs;
} kinds[] = {
    {"resid_pre", "hook_resid_pre"},   {"resid_mid", "hook_resid_mid"},
    {"resid_post", "hook_resid_post"}, {"attn_out", "hook_attn_out"},
    {"mlp_out", "hook_mlp_out"},       {"attn_z", "attn.hook_z"},
    {"mlp_act", "mlp.hook_post"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct hook {
    char ours[NAME], theirs[NAME], key[NAME]; /* key: its name in the file */
    int exists;
} hook;

static hook hook_at(const parity *p, int64_t l, int k)
{
    hook h;
    int layer = (int)l;
    snprintf(h.ours, sizeof h.ours, "%s.%d", kinds[k].ours, layer);
    snprintf(h.theirs, sizeof h.theirs, "blocks.%d.%s", layer, kinds[k].theirs);
    if (k == 0 && l > 0)
        snprintf(h.key, sizeof h.key, "resid_post.%d", layer - 1);
    else
        snprintf(h.key, sizeof h.key, "%s", h.ours);
    h.exists = sae_st_find(p->st, h.key) != NULL;
    return h;
}

typedef struct halted {
    sae_lm_pass *pass;
    const sae_real *acts;
    int64_t width; /* at the hook */
    sae_real *logits, *grad;
    double *ce;
} halted;

static halted halt(parity *p, const char *name)
{
    halted s = {0};
    sae_lm *lm = p->lm;
    ck_assert_ok(lm->hook(lm->self, name, &s.width, &p->f.err), p->f.err);
    ck_assert_ok(lm->begin(lm->self, name, &p->c, &s.pass, &p->f.err), p->f.err);
    s.acts = lm->acts(s.pass);
    s.logits = calloc((size_t)(p->rows * lm->vocab), sizeof *s.logits);
    s.grad = calloc((size_t)(p->rows * s.width), sizeof *s.grad);
    s.ce = calloc((size_t)p->rows, sizeof *s.ce);
    return s;
}

static void go_on(parity *p, halted *s, const sae_real *x, int with_grad)
{
    sae_lm_out out = {.ce = s->ce, .logits = s->logits, .grad = with_grad ? s->grad : NULL};
    ck_assert_ok(p->lm->finish(s->pass, x, &out, &p->f.err), p->f.err);
}

static void end(parity *p, halted *s)
{
    p->lm->end(&s->pass);
    free(s->logits);
    free(s->grad);
    free(s->ce);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Activations at the hook; logits, losses and the gradient from there on. */
static void check_hook(parity *p, const hook *h)
{
    halted s = halt(p, h->ours);
    float *acts = golden(p, "", h->key, s.width), *grad = golden(p, "grad.", h->key, s.width);
    float *logits = golden(p, "", "logits", p->lm->vocab), *ce = golden(p, "", "ce", 0);
    near(p, h->ours, "activations", s.acts, acts, p->rows * s.width);
    go_on(p, &s, NULL, 1);
    near(p, h->ours, "logits", s.logits, logits, p->rows * p->lm->vocab);
    near_losses(p, h->ours, "losses", s.ce, ce);
    near(p, h->ours, "gradient", s.grad, grad, p->rows * s.width);
    end(p, &s);
    free(acts);
    free(grad);
    free(logits);
    free(ce);
}

START_TEST(values_and_gradients)
{
    parity p;
    open_parity(&p, _i);
    int checked = 0;
    for (int64_t l = 0; l < p.lm->layers; l++)
        for (int k = 0; k < KINDS; k++) {
            hook h = hook_at(&p, l, k);
            if (h.exists)
                check_hook(&p, &h);
            checked += h.exists;
        }
    int parallel = strcmp(p.arch, "gpt_neox") == 0;
    ck_assert_int_eq(checked, p.lm->layers * (KINDS - parallel));
    close_parity(&p);
}
END_TEST

/* The hook's own values put back change nothing; zeros in all rows but the first of a context give
 * the losses of the file, and taking the values back gives the clean ones again. */
static void check_splice(parity *p, const hook *h)
{
    halted s = halt(p, h->ours);
    size_t count = (size_t)(p->rows * p->lm->vocab), wide = (size_t)(p->rows * s.width);
    sae_real *clean = calloc(count, sizeof *clean), *x = calloc(wide, sizeof *x);
    float *ce = golden(p, "zero.", h->key, 0);
    go_on(p, &s, NULL, 0);
    memcpy(clean, s.logits, count * sizeof *clean);

    memcpy(x, s.acts, wide * sizeof *x);
    go_on(p, &s, x, 0);
    ck_assert_msg(memcmp(clean, s.logits, count * sizeof *clean) == 0, "%s: %s", p->arch, h->ours);

    for (int64_t c = 0; c < p->c.N; c++)
        for (int64_t r = p->start[c] + 1; r < p->start[c + 1]; r++)
            memset(x + r * s.width, 0, (size_t)s.width * sizeof *x);
    go_on(p, &s, x, 0);
    near_losses(p, h->ours, "losses with zeros", s.ce, ce);

    go_on(p, &s, NULL, 0);
    ck_assert_msg(memcmp(clean, s.logits, count * sizeof *clean) == 0, "%s: %s", p->arch, h->ours);
    end(p, &s);
    free(clean);
    free(x);
    free(ce);
}

START_TEST(replaced_activations)
{
    parity p;
    open_parity(&p, _i);
    for (int64_t l = 0; l < p.lm->layers; l++)
        for (int k = 0; k < KINDS; k++) {
            hook h = hook_at(&p, l, k);
            if (h.exists)
                check_splice(&p, &h);
        }
    close_parity(&p);
}
END_TEST

static void refuse(parity *p, const char *name)
{
    sae_lm *lm = p->lm;
    sae_lm_pass *pass = NULL;
    int64_t width = 0;
    sae_err err = {0};
    ck_assert_msg(lm->hook(lm->self, name, &width, &err) == SAE_EINVAL, "%s: %s", p->arch, name);
    ck_assert_msg(strstr(err.msg, name) != NULL, "%s: %s", name, err.msg);
    ck_assert_int_eq(lm->begin(lm->self, name, &p->c, &pass, NULL), SAE_EINVAL);
    ck_assert_ptr_null(pass);
}

/* Both names of a hook mean the same; names of hooks that the architecture lacks mean nothing. */
START_TEST(names)
{
    parity p;
    open_parity(&p, _i);
    for (int64_t l = 0; l <= p.lm->layers; l++)
        for (int k = 0; k < KINDS; k++) {
            hook h = hook_at(&p, l, k);
            if (!h.exists || l == p.lm->layers) {
                refuse(&p, h.ours);
                refuse(&p, h.theirs);
                continue;
            }
            halted a = halt(&p, h.ours);
            size_t count = (size_t)(p.rows * a.width);
            sae_real *first = calloc(count, sizeof *first);
            memcpy(first, a.acts, count * sizeof *first);
            end(&p, &a);
            halted b = halt(&p, h.theirs);
            ck_assert_int_eq((int64_t)count, p.rows * b.width);
            ck_assert_mem_eq(first, b.acts, count * sizeof *first);
            end(&p, &b);
            free(first);
        }
    static const char *const never[] = {"resid_mid",
                                        "attn_z.-1",
                                        "attn_z.00x",
                                        "mlp_act.",
                                        "blocks.0.hook_z",
                                        "blocks.0.attn.hook_q",
                                        "blocks..mlp.hook_post",
                                        "hook_embed"};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        refuse(&p, never[i]);
    close_parity(&p);
}
END_TEST

/* The same model with the config.json that transformers 5 writes: links to everything in a new
 * directory, config5.json being called config.json there. */
static const char *newer_form(const parity *p)
{
    const char *dir = test_dir();
    char here[512], *root = realpath(folder, NULL);
    ck_assert_ptr_nonnull(root);
    snprintf(here, sizeof here, "%s/%s", folder, p->arch);
    struct dirent **e = NULL;
    int n = scandir(here, &e, NULL, alphasort);
    ck_assert_int_gt(n, 0);
    for (int i = 0; i < n; i++) {
        const char *name = e[i]->d_name;
        char from[4096], to[4096];
        int ours = strncmp(name, "model", 5) == 0, config = strcmp(name, "config5.json") == 0;
        snprintf(from, sizeof from, "%s/%s/%s", root, p->arch, name);
        snprintf(to, sizeof to, "%s/%s", dir, config ? "config.json" : name);
        if (ours || config)
            ck_assert_int_eq(symlink(from, to), 0);
        free(e[i]);
    }
    free(e);
    free(root);
    return dir;
}

START_TEST(newer_config)
{
    parity p;
    open_parity(&p, _i);
    lm_fixture other;
    lm_setup(&other, newer_form(&p), "");
    halted a = halt(&p, "resid_pre.0");
    go_on(&p, &a, NULL, 0);
    p.lm = other.lm;
    halted b = halt(&p, "resid_pre.0");
    go_on(&p, &b, NULL, 0);
    ck_assert_msg(memcmp(a.logits, b.logits, (size_t)(p.rows * p.lm->vocab) * sizeof *a.logits) ==
                      0,
                  "%s: logits differ", p.arch);
    ck_assert_int_eq(p.f.lm->ctx, other.lm->ctx);
    ck_assert_int_eq(p.f.lm->bos, other.lm->bos);
    ck_assert_int_eq(p.f.lm->eos, other.lm->eos);
    end(&p, &b);
    p.lm = p.f.lm;
    end(&p, &a);
    lm_teardown(&other);
    close_parity(&p);
}
END_TEST

/* The gradient of one part against the tensor that holds it in the file's layout. Returns the
 * number of elements compared. */
static int64_t check_slot(const parity *p, const sae_lm_model *m, const sae_lm_slot *s,
                          const sae_real *grad)
{
    const sae_lm_name *n = &m->cfg.files->names[s->part];
    char name[128], key[160];
    sae_lm_layout l;
    sae_lm_tensor_name(name, sizeof name, "", n->name, s->layer);
    snprintf(key, sizeof key, "gradw.%s", name);
    const sae_st_tensor *t = sae_st_find(p->st, key);
    ck_assert_msg(t != NULL, "%s: %s is not in the file", p->arch, key);
    float *want = calloc((size_t)t->count, sizeof *want);
    ck_assert_int_eq(sae_st_floats(p->st, t, 0, t->count, 1, want, NULL), SAE_OK);
    double largest = 0;
    for (int64_t e = 0; e < t->count; e++)
        largest = fmax(largest, fabs((double)want[e]));
    sae_lm_layout_of(&l, &m->cfg, s->part, n->form);
    int64_t compared = 0;
    for (int64_t e = 0; e < t->count; e++) {
        int64_t i = sae_lm_layout_element(&l, e);
        if (i < 0)
            continue;
        double got = (double)grad[s->at + i];
        ck_assert_msg(fabs(got - (double)want[e]) <= BOUND * largest,
                      "%s, %s[%lld]: %.8g, expected %.8g; largest %.3g", p->arch, key, (long long)e,
                      got, (double)want[e], largest);
        compared++;
    }
    ck_assert_int_eq(compared, s->rows * s->cols);
    free(want);
    return compared;
}

START_TEST(parameter_gradients)
{
    parity p;
    open_parity(&p, _i);
    sae_lm_model *m = p.lm->self;
    sae_real *grad = calloc((size_t)m->w.count, sizeof *grad), *there = NULL;
    double *ce = calloc((size_t)p.rows, sizeof *ce);
    int64_t compared = 0, stored = 0;
    ck_assert_ok(sae_lm_new(&m->at, &there, m->w.count, sizeof *there, "grad", &p.f.err), p.f.err);
    ck_assert_ok(sae_lm_loss_grad(m, &p.c, there, ce, &p.f.err), p.f.err);
    ck_assert_ok(sae_lm_get(&m->at, grad, there, m->w.count, sizeof *grad, &p.f.err), p.f.err);
    sae_lm_free(&m->at, there);
    float *want = golden(&p, "", "ce", 0);
    near_losses(&p, "parameters", "losses", ce, want);
    for (int64_t i = 0; i < m->w.slots; i++)
        compared += check_slot(&p, m, &m->w.slot[i], grad);
    for (int64_t i = 0; i < sae_st_count(p.st); i++) /* and no tensor of the file is left over */
        if (strncmp(sae_st_at(p.st, i)->name, "gradw.", 6) == 0)
            stored += sae_st_at(p.st, i)->count;
    ck_assert_int_eq(compared, stored);
    free(ce);
    free(want);
    free(grad);
    close_parity(&p);
}
END_TEST

/* A saved model is the same model. */
START_TEST(saved_and_read_again)
{
    parity p;
    open_parity(&p, _i);
    sae_lm_model *m = p.lm->self, *again = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", test_dir());
    ck_assert_ok(sae_lm_weights_save(&m->w, &m->at, &m->cfg, path, SAE_ST_F32, &p.f.err), p.f.err);
    sae_lm_store store;
    ck_assert_ok(sae_lm_store_open(&store, test_dir(), &p.f.err), p.f.err);
    sae_lm_named named = {&store, m->cfg.files->names, NULL};
    sae_lm_source src = {&named, sae_lm_read_named};
    ck_assert_ok(sae_lm_model_open(&again, &m->cfg, &src, sae_lm_place_of(&p.f.e), &p.f.err),
                 p.f.err);
    ck_assert_int_eq(again->w.count, m->w.count);
    size_t bytes = (size_t)m->w.count * sizeof *m->w.base;
    sae_real *saved = malloc(2 * bytes), *read = saved + m->w.count;
    ck_assert_ok(sae_lm_get(&m->at, saved, m->w.base, m->w.count, sizeof *saved, NULL), p.f.err);
    ck_assert_ok(sae_lm_get(&m->at, read, again->w.base, m->w.count, sizeof *read, NULL), p.f.err);
    ck_assert_mem_eq(read, saved, bytes);
    free(saved);
    sae_lm_model_close(&again);
    sae_lm_store_close(&store);
    close_parity(&p);
}
END_TEST

Suite *suite_lm_parity(void)
{
    Suite *s = suite_create("lm_parity");
    TCase *t = tcase_create("lm_parity");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, values_and_gradients, 0, MODELS);
    tcase_add_loop_test(t, saved_and_read_again, 0, MODELS);
    tcase_add_loop_test(t, replaced_activations, 0, MODELS);
    tcase_add_loop_test(t, names, 0, MODELS);
    tcase_add_loop_test(t, newer_config, 0, MODELS);
    tcase_add_loop_test(t, parameter_gradients, 0, MODELS);
    suite_add_tcase(s, t);
    return s;
}
