/* suite/core/admit.c - the checks every descriptor passes before the suite uses it. */
#include "core/registry.h"

#include "core/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_NAME = 40, MEMBER = 8 }; /* every option member has 8 bytes */
_Static_assert(sizeof(char *) == MEMBER, "option offsets assume 64-bit pointers");

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

/* What is being checked, for messages. */
typedef struct subject {
    const char *kind, *name; /* "variant" and its name */
    sae_err *err;
} subject;

__attribute__((format(printf, 2, 3))) static int refuse(const subject *s, const char *fmt, ...)
{
    char reason[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return SAE_SET(s->err, SAE_EINVAL, "%s %s: %s", s->kind, s->name, reason);
}

static int is_name(const char *s, const char *first, const char *rest)
{
    size_t len = strlen(s);
    return len > 0 && len <= LONGEST_NAME && strchr(first, s[0]) && strspn(s, rest) == len;
}

static int is_key(const char *s)
{
    return is_name(s, LOWER, LOWER DIGIT "_");
}

/* The members every descriptor begins with. A shorter one comes from an older host: the rest of
 * the completed copy is zero. */
static int check_head(subject *s, uint32_t abi, uint32_t want_abi, size_t size, size_t want_size,
                      const char *name)
{
    const size_t head = 2 * sizeof(uint32_t) + sizeof(char *);
    if (abi != want_abi)
        SAE_FAIL(s->err, SAE_EABI, "%s: ABI version %u, this program has %u", s->kind, abi,
                 want_abi);
    if (size < head || size > want_size || size % sizeof(char *)) /* never half a pointer */
        SAE_FAIL(s->err, SAE_EABI, "%s: descriptor of %zu bytes, this program has %zu", s->kind,
                 size, want_size);
    if (!name || !is_key(name))
        SAE_FAIL(s->err, SAE_EINVAL, "%s \"%.60s\": a name is [a-z][a-z0-9_]*, at most %d long",
                 s->kind, name ? name : "", LONGEST_NAME);
    s->name = name;
    return SAE_OK;
}

/* Texts that people read: member names and values, ending with NULL. */
static int check_texts(const subject *s, const char *const text[][2])
{
    for (int i = 0; text[i][0]; i++)
        if (!text[i][1] || !*text[i][1])
            return refuse(s, "%s is empty", text[i][0]);
    return SAE_OK;
}

static int check_bits(const subject *s, const char *what, uint64_t bits, uint64_t known)
{
    if (bits & ~known)
        return refuse(s, "unknown bits 0x%llx in %s", (unsigned long long)(bits & ~known), what);
    return SAE_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

static int check_enum(const subject *s, const sae_option *o)
{
    int64_t count = 0;
    for (; o->enums && o->enums[count]; count++) {
        if (!is_name(o->enums[count], LOWER UPPER DIGIT, LOWER UPPER DIGIT "_.+-"))
            return refuse(s, "option %s: \"%.40s\" cannot be written in a spec", o->name,
                          o->enums[count]);
        for (int64_t i = 0; i < count; i++)
            if (strcmp(o->enums[i], o->enums[count]) == 0)
                return refuse(s, "option %s: %s is listed twice", o->name, o->enums[i]);
    }
    if (count == 0 || o->lo != 0 || o->hi != (double)(count - 1))
        return refuse(s, "option %s: %lld names, range [%g, %g]", o->name, (long long)count, o->lo,
                      o->hi);
    return SAE_OK;
}

static int check_range(const subject *s, const sae_option *o)
{
    const double exact = 9007199254740992.0; /* 2^53: a larger default is not one integer */
    if (o->type == SAE_OPT_STR)
        return SAE_OK;
    if (!(o->lo <= o->def && o->def <= o->hi) || !isfinite(o->def))
        return refuse(s, "option %s: default %g outside [%g, %g]", o->name, o->def, o->lo, o->hi);
    if (o->type != SAE_OPT_REAL && (o->def != floor(o->def) || fabs(o->def) > exact))
        return refuse(s, "option %s: default %g is not an integer", o->name, o->def);
    if (o->type == SAE_OPT_BOOL && (o->lo != 0 || o->hi != 1))
        return refuse(s, "option %s: range of a switch is [0, 1], not [%g, %g]", o->name, o->lo,
                      o->hi);
    return SAE_OK;
}

static int check_option(const subject *s, const sae_option *table, int64_t i, size_t opt_size)
{
    const sae_option *o = &table[i];
    if (!is_key(o->name) || strcmp(o->name, "n") == 0 || strcmp(o->name, "preset") == 0)
        return refuse(s, "option \"%.60s\": a key is [a-z][a-z0-9_]* and neither n nor preset",
                      o->name);
    if ((unsigned)o->type > SAE_OPT_STR)
        return refuse(s, "option %s: unknown type %d", o->name, (int)o->type);
    if ((o->flags & ~(uint32_t)SAE_OPT_SCHED) || (o->flags && o->type != SAE_OPT_REAL))
        return refuse(s, "option %s: flags 0x%x do not fit its type", o->name, o->flags);
    if (o->off % MEMBER || o->off >= opt_size || opt_size - o->off < MEMBER)
        return refuse(s, "option %s: offset %zu in a struct of %zu bytes", o->name, o->off,
                      opt_size);
    for (int64_t j = 0; j < i; j++) {
        if (strcmp(table[j].name, o->name) == 0)
            return refuse(s, "option %s is listed twice", o->name);
        if (table[j].off == o->off)
            return refuse(s, "options %s and %s have the same offset", table[j].name, o->name);
    }
    if (!o->unit || !*o->unit || !o->help || !*o->help)
        return refuse(s, "option %s: unit or help is empty", o->name);
    if ((o->type == SAE_OPT_ENUM) != (o->enums != NULL))
        return refuse(s, "option %s: names belong to ENUM, and only there", o->name);
    if (o->type == SAE_OPT_ENUM)
        SAE_TRY(check_enum(s, o));
    return check_range(s, o);
}

static int check_options(const subject *s, const sae_option **table, size_t opt_size)
{
    static const sae_option none[] = {{.name = NULL}};
    if (opt_size < 1)
        return refuse(s, "opt_size is %zu, at least 1 expected", opt_size);
    if (!*table)
        *table = none;
    for (int64_t i = 0; (*table)[i].name; i++)
        SAE_TRY(check_option(s, *table, i, opt_size));
    return SAE_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int64_t one_extent(int64_t declared)
{
    return declared == 1 ? SAE_DIM_1 : declared;
}

static int check_reserved(const subject *s, const sae_tensor_spec *t)
{
    static const struct {
        const char *name, *shape;
        int64_t rows, cols;
    } reserved[] = {
        {"W_enc", "n x d_in", SAE_DIM_N, SAE_DIM_IN},
        {"b_enc", "1 x n", SAE_DIM_1, SAE_DIM_N},
        {"W_dec", "n x d_out", SAE_DIM_N, SAE_DIM_OUT},
        {"b_dec", "1 x d_out", SAE_DIM_1, SAE_DIM_OUT},
    };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strcmp(t->name, reserved[i].name) == 0 &&
            (one_extent(t->rows) != reserved[i].rows || one_extent(t->cols) != reserved[i].cols ||
             t->dtype != SAE_REAL))
            return refuse(s, "tensor %s: this name means a real matrix %s", t->name,
                          reserved[i].shape);
    return SAE_OK;
}

static int is_extent(int64_t e)
{
    return e > 0 || (e <= SAE_DIM_1 && e >= SAE_DIM_N);
}

static int check_tensor(const subject *s, const sae_variant *v, int i)
{
    const sae_tensor_spec *t = &v->tensors[i];
    const uint32_t known = SAE_T_UNIT_ROWS | SAE_T_STE | SAE_T_NO_DECAY;
    if (!is_name(t->name, LOWER UPPER, LOWER UPPER DIGIT "_"))
        return refuse(s, "tensor \"%.60s\": a name is [A-Za-z][A-Za-z0-9_]*", t->name);
    for (int j = 0; j < i; j++)
        if (strcmp(v->tensors[j].name, t->name) == 0)
            return refuse(s, "tensor %s is listed twice", t->name);
    if (t->role != SAE_PARAM && t->role != SAE_STATE)
        return refuse(s, "tensor %s: unknown role %d", t->name, (int)t->role);
    if ((unsigned)t->dtype > SAE_U64 || (t->role == SAE_PARAM && t->dtype != SAE_REAL))
        return refuse(s, "tensor %s: type %d does not fit its role", t->name, (int)t->dtype);
    if ((t->flags & ~known) || (t->flags && t->dtype != SAE_REAL))
        return refuse(s, "tensor %s: flags 0x%x do not fit its type", t->name, t->flags);
    if (!is_extent(t->rows) || !is_extent(t->cols))
        return refuse(s, "tensor %s: extents %lld x %lld", t->name, (long long)t->rows,
                      (long long)t->cols);
    if ((v->caps & SAE_CAP_GROWS) && t->cols == SAE_DIM_N && one_extent(t->rows) != SAE_DIM_1)
        return refuse(s, "tensor %s: a growing axis must be the rows", t->name);
    return check_reserved(s, t);
}

static int check_tensors(const subject *s, const sae_variant *v)
{
    int params = 0;
    if (!v->tensors)
        return refuse(s, "no tensor table");
    for (int i = 0; v->tensors[i].name; i++) {
        if (i == SAE_MAX_TENSOR)
            return refuse(s, "more than %d tensors", SAE_MAX_TENSOR);
        SAE_TRY(check_tensor(s, v, i));
        params += v->tensors[i].role == SAE_PARAM;
    }
    if (params && !v->backward)
        return refuse(s, "%d PARAM tensors and no backward", params);
    const sae_train_defaults *t = &v->train;
    if (params && !(t->lr > 0 && isfinite(t->lr) && t->beta1 >= 0 && t->beta1 < 1 &&
                    t->beta2 >= 0 && t->beta2 < 1 && t->eps > 0))
        return refuse(s, "training defaults: lr %g, beta1 %g, beta2 %g, eps %g", t->lr, t->beta1,
                      t->beta2, t->eps);
    if (!(t->clip_norm >= 0 && t->weight_decay >= 0 && t->warmup >= 0 && t->decay >= 0 &&
          t->decay <= 1))
        return refuse(s, "training defaults: clip %g, weight decay %g, warm-up %lld, decay %g",
                      t->clip_norm, t->weight_decay, (long long)t->warmup, t->decay);
    return SAE_OK;
}

/* A file written for SAELens needs what the variant points to. */
static int check_saelens(const subject *s, const sae_variant *v)
{
    const sae_saelens *how = v->saelens;
    if (!how)
        return SAE_OK;
    if (!how->architecture || !*how->architecture)
        return refuse(s, "saelens.architecture is empty");
    for (int i = 0; how->threshold && v->tensors[i].name; i++)
        if (strcmp(v->tensors[i].name, how->threshold) == 0)
            return SAE_OK;
    return how->threshold ? refuse(s, "saelens.threshold names no tensor: %.60s", how->threshold)
                          : SAE_OK;
}

static int check_presets(const subject *s, const sae_variant *v)
{
    for (const sae_preset *p = v->presets; p && p->name; p++) {
        if (!is_key(p->name))
            return refuse(s, "preset \"%.60s\": a name is [a-z][a-z0-9_]*", p->name);
        for (const sae_preset *q = v->presets; q != p; q++)
            if (strcmp(q->name, p->name) == 0)
                return refuse(s, "preset %s is listed twice", p->name);
        if (!p->options || !p->source || !*p->source)
            return refuse(s, "preset %s: options or source are missing", p->name);
    }
    return SAE_OK;
}

static int check_losses(const subject *s, const sae_variant *v)
{
    if (!v->losses)
        return refuse(s, "no loss table");
    for (int i = 0; v->losses[i]; i++) {
        if (i == SAE_MAX_LOSS)
            return refuse(s, "more than %d losses", SAE_MAX_LOSS);
        if (!is_key(v->losses[i]))
            return refuse(s, "loss \"%.60s\": a name is [a-z][a-z0-9_]*", v->losses[i]);
        for (int j = 0; j < i; j++)
            if (strcmp(v->losses[i], v->losses[j]) == 0)
                return refuse(s, "loss %s is listed twice", v->losses[i]);
    }
    return SAE_OK;
}

/* ---- variant --------------------------------------------------------------------------------- */

static uint64_t all_caps(const void *opt)
{
    (void)opt;
    return UINT64_MAX; /* sae_caps() cuts it to the declared ones */
}

static uint64_t no_needs(const void *opt, enum sae_mode mode)
{
    (void)opt, (void)mode;
    return 0;
}

static int no_check(const void *opt, const sae_dims *dim, sae_err *e)
{
    (void)opt, (void)dim, (void)e;
    return SAE_OK;
}

static int no_backward(sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return SAE_OK;
}

static int no_adapt(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    (void)m, (void)c, (void)b, (void)t;
    return SAE_OK;
}

static int no_finalize(sae_model *m, const sae_ctx *c)
{
    (void)m, (void)c;
    return SAE_OK;
}

static double no_flops(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode)
{
    (void)opt, (void)dim, (void)B, (void)mode;
    return 0;
}

int sae_admit_variant(const sae_variant *v, sae_variant *out, sae_err *err)
{
    subject s = {"variant", NULL, err};
    const uint64_t caps = SAE_CAP_SIGNED | SAE_CAP_BATCH_TRAIN | SAE_CAP_BATCH_EVAL |
                          SAE_CAP_STOCHASTIC | SAE_CAP_GROWS | SAE_CAP_LINEAR_DEC |
                          SAE_CAP_HOST_ONLY | SAE_CAP_SKIP;
    SAE_TRY(check_head(&s, v->abi, SAE_VARIANT_ABI, v->size, sizeof *out, v->name));
    memset(out, 0, sizeof *out);
    memcpy(out, v, v->size);
    out->size = sizeof *out;
    const char *const texts[][2] = {
        {"summary", out->summary}, {"source", out->source}, {NULL, NULL}};
    SAE_TRY(check_texts(&s, texts));
    SAE_TRY(check_bits(&s, "caps", out->caps, caps));
    SAE_TRY(check_options(&s, &out->options, out->opt_size));
    SAE_TRY(check_tensors(&s, out));
    SAE_TRY(check_losses(&s, out));
    SAE_TRY(check_saelens(&s, out));
    SAE_TRY(check_presets(&s, out));
    if (!out->workspace || !out->init || !out->forward || !out->decode)
        return refuse(&s, "workspace, init, forward and decode are mandatory");
    out->caps_for = out->caps_for ? out->caps_for : all_caps;
    out->needs = out->needs ? out->needs : no_needs;
    out->check = out->check ? out->check : no_check;
    out->backward = out->backward ? out->backward : no_backward;
    out->adapt = out->adapt ? out->adapt : no_adapt;
    out->finalize = out->finalize ? out->finalize : no_finalize;
    out->flops = out->flops ? out->flops : no_flops;
    return SAE_OK;
}

/* ---- metric ---------------------------------------------------------------------------------- */

int sae_admit_metric(const sae_metric *m, sae_metric *out, sae_err *err)
{
    subject s = {"metric", NULL, err};
    const uint64_t needs = SAE_MNEED_CODE | SAE_MNEED_XHAT | SAE_MNEED_LM | SAE_MNEED_TRUTH |
                           SAE_MNEED_LABELS | SAE_MNEED_GRAD | SAE_MNEED_ZERO_ALL |
                           SAE_MNEED_INSERT | SAE_MNEED_PEER;
    SAE_TRY(check_head(&s, m->abi, SAE_METRIC_ABI, m->size, sizeof *out, m->name));
    memset(out, 0, sizeof *out);
    memcpy(out, m, m->size);
    out->size = sizeof *out;
    const char *const texts[][2] = {
        {"summary", out->summary}, {"source", out->source}, {NULL, NULL}};
    SAE_TRY(check_texts(&s, texts));
    SAE_TRY(check_bits(&s, "needs", out->needs, needs));
    SAE_TRY(check_bits(&s, "wants", out->wants, needs));
    SAE_TRY(check_options(&s, &out->options, out->opt_size));
    if (!out->state_size || !out->begin || !out->batch || !out->merge || !out->end)
        return refuse(&s, "state_size, begin, batch, merge and end are mandatory");
    uint32_t reads = out->needs | out->wants;
    if (!(out->needs & SAE_MNEED_PEER) != !out->pair)
        return refuse(&s, "pair goes with SAE_MNEED_PEER");
    if (out->needs & SAE_MNEED_PEER && reads & (SAE_MNEED_LM | SAE_MNEED_INSERT))
        return refuse(&s, "a metric of pairs cannot splice into a language model");
    return SAE_OK;
}

/* ---- dataset --------------------------------------------------------------------------------- */

static int no_truth(sae_source *src, enum sae_split split, uint64_t row0, int64_t B, sae_truth *t,
                    sae_err *err)
{
    (void)src, (void)split, (void)row0, (void)B, (void)t;
    SAE_FAIL(err, SAE_ENEEDS, "the dataset has no ground truth");
}

static int no_lm(const sae_source *src, sae_lm_view *out)
{
    (void)src, (void)out;
    return SAE_ENEEDS;
}

int sae_admit_dataset(const sae_dataset *d, sae_dataset *out, sae_err *err)
{
    subject s = {"dataset", NULL, err};
    const uint64_t gives = SAE_GIVES_TOKENS | SAE_GIVES_GRAD | SAE_GIVES_TRUTH | SAE_GIVES_LM |
                           SAE_GIVES_LABELS | SAE_GIVES_TARGET;
    SAE_TRY(check_head(&s, d->abi, SAE_DATASET_ABI, d->size, sizeof *out, d->name));
    memset(out, 0, sizeof *out);
    memcpy(out, d, d->size);
    out->size = sizeof *out;
    const char *const texts[][2] = {{"summary", out->summary},
                                    {"source", out->source},
                                    {"licence", out->licence},
                                    {NULL, NULL}};
    SAE_TRY(check_texts(&s, texts));
    SAE_TRY(check_bits(&s, "gives", out->gives, gives));
    SAE_TRY(check_options(&s, &out->options, out->opt_size));
    if (!out->open || !out->rows || !out->fill || !out->close || !out->hash)
        return refuse(&s, "open, rows, fill, close and hash are mandatory");
    if (!(out->gives & SAE_GIVES_TRUTH) != !out->truth)
        return refuse(&s, "SAE_GIVES_TRUTH and truth() go together");
    if (!(out->gives & SAE_GIVES_LM) != !out->lm)
        return refuse(&s, "SAE_GIVES_LM and lm() go together");
    if (!(out->gives & SAE_GIVES_LABELS) != !out->labels)
        return refuse(&s, "SAE_GIVES_LABELS and labels() go together");
    out->truth = out->truth ? out->truth : no_truth;
    out->lm = out->lm ? out->lm : no_lm;
    return SAE_OK;
}

/* ---- backend --------------------------------------------------------------------------------- */

static int check_lm(const subject *s, const sae_lm_ops *ops)
{
    if (ops->abi != SAE_LM_OPS_ABI || ops->size < sizeof *ops)
        SAE_FAIL(s->err, SAE_EABI, "backend %s: its operations of language models have ABI version "
                 "%u and %u bytes, this program has %d and %zu", s->name, ops->abi, ops->size,
                 SAE_LM_OPS_ABI, sizeof *ops);
#define CHECK(op)                                                                                  \
    if (!ops->op)                                                                                  \
        return refuse(s, "an operation of language models is missing: " #op);
    SAE_LM_OPS_LIST(CHECK)
#undef CHECK
    return SAE_OK;
}

int sae_admit_backend(const sae_backend *b, sae_backend *out, sae_err *err)
{
    subject s = {"backend", NULL, err};
    SAE_TRY(check_head(&s, b->abi, SAE_BACKEND_ABI, b->size, sizeof *out, b->name));
    memset(out, 0, sizeof *out);
    memcpy(out, b, b->size);
    out->size = sizeof *out;
    const char *const texts[][2] = {{"summary", out->summary}, {NULL, NULL}};
    SAE_TRY(check_texts(&s, texts));
    if (!out->score || !out->open || !out->close || !out->props || !out->alloc || !out->release ||
        !out->copy || !out->sync || !out->kernels)
        return refuse(&s, "every method is mandatory");
    if (!out->freeze != !out->thaw)
        return refuse(&s, "freeze and thaw go together");
    if (!out->alloc_host != !out->release_host)
        return refuse(&s, "alloc_host and release_host go together");
    if (!out->share != !out->after)
        return refuse(&s, "share and after go together");
    return out->lm ? check_lm(&s, out->lm) : SAE_OK;
}
