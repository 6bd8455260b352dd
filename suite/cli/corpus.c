/* suite/cli/corpus.c - documents from --data SPEC or --text FILE. */
#include "cli/corpus.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "models/docs.h"
#include "run/host.h"

#include <stdio.h>
#include <string.h>

/* A model would refuse a longer document too, but does not know what could be done. */
static int check_lengths(const cli_corpus *k, const sae_docs *d, sae_err *err)
{
    const sae_option *o = k->spec.dataset->options;
    while (o->name && strcmp(o->name, "length") != 0)
        o++;
    for (int64_t i = 0; i < d->c.N; i++) {
        int64_t n = d->c.start[i + 1] - d->c.start[i];
        if (n <= k->ctx)
            continue;
        char hint[64] = "";
        if (o->name)
            snprintf(hint, sizeof hint, "; set length=%lld or less", (long long)k->ctx);
        SAE_FAIL(err, SAE_EINVAL, "--data %s: a document of %lld tokens, the model's context is "
                 "%lld%s", k->spec.dataset->name, (long long)n, (long long)k->ctx, hint);
    }
    return SAE_OK;
}

/* Ids that the model does not have are those of another tokenizer. */
static int check_ids(const cli_corpus *k, const sae_docs *d, sae_err *err)
{
    for (int64_t r = 0; r < d->c.start[d->c.N]; r++)
        if (d->c.tok[r] >= k->vocab)
            SAE_FAIL(err, SAE_EINVAL,
                     "--data %s: expected an id from 0 to %lld, found %d: the "
                     "model has another vocabulary",
                     k->spec.dataset->name, (long long)k->vocab - 1, (int)d->c.tok[r]);
    return SAE_OK;
}

static int dataset_docs(void *self, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                        sae_err *err)
{
    const cli_corpus *k = self;
    SAE_TRY(k->spec.dataset->docs(k->src, split, doc0, N, out, err));
    SAE_TRY(check_lengths(k, out, err));
    return check_ids(k, out, err);
}

static int open_data(cli_corpus *k, const char *text, const sae_registry *reg, const sae_engine *e,
                     uint64_t seed, sae_err *err)
{
    sae_dims dim;
    char hash[36];
    sae_host host = sae_host_make(e, seed);
    SAE_TRY(sae_spec_parse(&k->spec, reg, SAE_KIND_DATASET, text, err));
    const sae_dataset *ds = k->spec.dataset;
    if (!ds->docs)
        SAE_FAIL(err, SAE_ENEEDS, "--data %s: this dataset has no documents of its own", text);
    SAE_TRY(ds->open(&k->src, sae_opts_base(k->spec.opts), &host, &dim, err));
    int rc = ds->hash(k->src, hash);
    if (rc < 0)
        SAE_FAIL(err, rc, "--data %s: its rows could not be hashed (%s)", text,
                 sae_status_name(rc));
    char *spec = sae_spec_print(&k->spec, 1);
    k->id = spec ? sae_strfmt("%s#%s", spec, hash) : NULL;
    sae_free(spec);
    k->c = (sae_lm_corpus){k, dataset_docs, -1, k->id};
    return SAE_OK;
}

static int open_text(cli_corpus *k, const cli_args *a, const char *path, const sae_lm *lm,
                     uint64_t seed, sae_err *err)
{
    const char *separator = cli_get(a, "doc-separator");
    char hash[36];
    double share;
    SAE_TRY(cli_real(a, "eval-share", 0.05, 0, 1, &share, err));
    SAE_TRY(sae_docs_open_windows(lm, path, separator ? separator : "", &k->docs, err));
    SAE_TRY(sae_lm_text_open(&k->text, k->docs, seed, share, err));
    SAE_TRY(sae_hash_file(path, hash, err));
    k->id = sae_strfmt("text#%s tokenizer#%s separator=%s eval_share=%.15g", hash,
                       lm->tokenizer_hash, separator ? separator : "", share);
    k->c = (sae_lm_corpus){k->text, sae_lm_text_docs, sae_lm_text_eval(k->text), k->id};
    return SAE_OK;
}

int cli_corpus_open(cli_corpus *k, const cli_args *a, const sae_registry *reg, const sae_engine *e,
                    const sae_lm *lm, uint64_t seed, sae_err *err)
{
    static const char *const of_text[] = {"doc-separator", "eval-share", NULL};
    const char *data = cli_get(a, "data"), *text = cli_get(a, "text");
    *k = (cli_corpus){.ctx = lm->ctx, .vocab = lm->vocab};
    if (!data == !text)
        SAE_FAIL(err, SAE_EINVAL, "expected one of --data SPEC and --text FILE");
    for (int i = 0; data && of_text[i]; i++)
        if (cli_has(a, of_text[i]))
            SAE_FAIL(err, SAE_EINVAL, "--%s: a dataset has none; expected --text FILE with it",
                     of_text[i]);
    int rc = data ? open_data(k, data, reg, e, seed, err) : open_text(k, a, text, lm, seed, err);
    if (rc >= 0 && !k->id)
        rc = SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc < 0)
        cli_corpus_close(k);
    return rc;
}

void cli_corpus_close(cli_corpus *k)
{
    if (k->src)
        k->spec.dataset->close(&k->src);
    sae_spec_free(&k->spec);
    sae_lm_text_close(&k->text);
    sae_docs_close(&k->docs);
    sae_free(k->id);
    *k = (cli_corpus){0};
}

int cli_corpus_labels(const cli_corpus *k, const sae_label **table, int64_t *count, sae_err *err)
{
    const sae_dataset *ds = k->spec.dataset;
    if (!(sae_source_gives(ds, k->src) & SAE_GIVES_LABELS))
        SAE_FAIL(err, SAE_EINVAL, "--data %s: this dataset has no labels", ds->name);
    return ds->labels(k->src, table, count);
}

int cli_label_find(const sae_label *table, int64_t count, const char *name, int64_t *which,
                   sae_err *err)
{
    const char **list = NULL;
    SAE_TRY(sae_new(&list, count + 1, sizeof *list, "labels", err));
    for (int64_t i = 0; i < count; i++)
        list[i] = table[i].name;
    for (*which = 0; *which < count && strcmp(list[*which], name) != 0;)
        ++*which;
    int rc = *which < count ? SAE_OK : sae_unknown_word("label", name, list, err);
    sae_free(list);
    return rc;
}
