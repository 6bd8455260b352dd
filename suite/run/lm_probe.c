/* suite/run/lm_probe.c - activations of documents shown to one probe per label. */
#include "run/lm_probe.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

/* Documents of a pass. */
enum { BATCH_DOCS = 64 };

typedef struct prober {
    const sae_lm_probing *s;
    int64_t d;
    sae_linprobe *probe; /* [count] */
    sae_progress p;
    int64_t passed; /* documents */
} prober;

/* Show the rows of a pass to one probe. */
static void show(prober *k, int64_t which, enum sae_split split, const sae_docs *d,
                 const sae_real *x)
{
    for (int64_t c = 0; c < d->c.N; c++) {
        int64_t row = d->c.start[c] + 1, rows = d->c.start[c + 1] - row;
        const int32_t *label = d->label + row * d->labels + k->s->label[which];
        if (split == SAE_SPLIT_TRAIN)
            sae_linprobe_add(&k->probe[which], x + row * k->d, label, d->labels, rows);
        else
            sae_linprobe_test(&k->probe[which], x + row * k->d, label, d->labels, rows, d->doc[c]);
    }
}

static int pass_over(prober *k, enum sae_split split, const sae_docs *d, sae_err *err)
{
    const sae_lm *lm = k->s->lm;
    sae_lm_pass *pass = NULL;
    SAE_TRY(lm->begin(lm->self, k->s->hook, &d->c, &pass, err));
    const sae_real *x = lm->acts(pass);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < k->s->count; i++)
        show(k, i, split, d, x);
    lm->end(&pass);
    return SAE_OK;
}

static int sweep(prober *k, enum sae_split split, int64_t docs, sae_err *err)
{
    const sae_lm_corpus *corpus = k->s->corpus;
    for (int64_t i = 0; i < docs; i += BATCH_DOCS) {
        int64_t n = docs - i < BATCH_DOCS ? docs - i : BATCH_DOCS;
        sae_docs d;
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted while probing %s", k->s->hook);
        SAE_TRY(corpus->docs(corpus->self, split, (uint64_t)i, n, &d, err));
        SAE_TRY(pass_over(k, split, &d, err));
        k->passed += n;
        sae_progress_at(&k->p, (double)k->passed);
    }
    return SAE_OK;
}

int sae_lm_probe(const sae_lm_probing *s, sae_linprobe_result *out, sae_err *err)
{
    int rc;
    prober k = {.s = s};
    sae_progress_open(&k.p, s->hook, "documents", (double)(s->docs + s->eval_docs));
    sae_progress_at(&k.p, 0);
    SAE_GOTO(s->lm->hook(s->lm->self, s->hook, &k.d, err));
    SAE_GOTO(sae_new(&k.probe, s->count, sizeof *k.probe, "probes", err));
    for (int64_t i = 0; i < s->count; i++)
        SAE_GOTO(sae_linprobe_open(&k.probe[i], k.d, s->table[s->label[i]].classes, err));
    SAE_GOTO(sweep(&k, SAE_SPLIT_TRAIN, s->docs, err));
    for (int64_t i = 0; i < s->count; i++) {
        rc = sae_linprobe_fit(&k.probe[i], err);
        if (rc < 0) {
            sae_fail_prefix(err, rc, "label %s at %s", s->table[s->label[i]].name, s->hook);
            goto fail;
        }
    }
    SAE_GOTO(sweep(&k, SAE_SPLIT_EVAL, s->eval_docs, err));
    for (int64_t i = 0; i < s->count; i++)
        out[i] = sae_linprobe_score(&k.probe[i]);
fail:
    sae_progress_close(&k.p);
    for (int64_t i = 0; k.probe && i < s->count; i++)
        sae_linprobe_close(&k.probe[i]);
    sae_free(k.probe);
    return rc;
}
