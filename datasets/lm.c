/* datasets/lm.c - activations of a language model, computed when they are asked for; see lm.md.
 *
 * All documents are tokenised at open, so the number of rows of every context is known. An epoch of
 * TRAIN is the contexts in a permuted order; live/live.h computes its rows.
 */
#include "live/live.h"

#include <sae/fail.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exclude { EXCLUDE_NONE, EXCLUDE_BOS, EXCLUDE_SPECIAL };

typedef struct options {
    const char *model, *tokenizer, *text, *separator, *hook, *target;
    int64_t docs, exclude, buffer, batch;
    double eval;
} options;

/* Contexts of a split in the order of one epoch. */
typedef struct order {
    int64_t N;       /* contexts */
    int64_t *which;  /* [N] context of the file, ascending */
    int64_t *turn;   /* [N] the same in the order of `epoch` */
    int64_t *at;     /* [N + 1] rows before each turn */
    uint64_t epoch;
    int known;       /* turn and at hold `epoch` */
} order;

struct sae_source {
    options o;     /* strings are not used after open */
    char hash[36];
    sae_docs *docs;
    int64_t *kept; /* [docs->c.N] rows shown of each context */
    order split[2];
    sae_docs eval; /* EVAL documents, for lm() */
    live v;
};

/* ---- order of an epoch ----------------------------------------------------------------------- */

static void arrange(void *self, enum sae_split split, uint64_t epoch)
{
    sae_source *s = self;
    order *q = &s->split[split];
    if (q->known && (q->epoch == epoch || split == SAE_SPLIT_EVAL))
        return;
    int64_t at = 0;
    for (int64_t i = 0; i < q->N; i++) {
        uint64_t k = (uint64_t)i;
        if (split == SAE_SPLIT_TRAIN)
            k = sae_permute(s->v.host.seed, epoch, (uint64_t)q->N, k);
        q->turn[i] = q->which[k];
        q->at[i] = at;
        at += s->kept[q->turn[i]];
    }
    q->at[q->N] = at;
    q->epoch = epoch;
    q->known = 1;
}

/* The last turn that starts at or before a row. */
static int64_t turn_of(const void *self, enum sae_split split, int64_t row)
{
    const order *q = &((const sae_source *)self)->split[split];
    int64_t lo = 0, hi = q->N;
    while (hi - lo > 1) {
        int64_t mid = (lo + hi) / 2;
        if (q->at[mid] <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static int64_t row_of(const void *self, enum sae_split split, int64_t turn)
{
    return ((const sae_source *)self)->split[split].at[turn];
}

static void context_of(void *self, enum sae_split split, int64_t turn, live_context *out)
{
    const sae_source *s = self;
    const sae_contexts *c = &s->docs->c;
    int64_t k = s->split[split].turn[turn];
    *out = (live_context){.tok = c->tok + c->start[k],
                          .length = c->start[k + 1] - c->start[k],
                          .doc = s->docs->doc[k]};
}

static int64_t length_of(const void *self, enum sae_split split, int64_t turn)
{
    const sae_source *s = self;
    int64_t k = s->split[split].turn[turn];
    return s->docs->c.start[k + 1] - s->docs->c.start[k];
}

static int64_t rows(const sae_source *s, enum sae_split split)
{
    return s->split[split].at[s->split[split].N]; /* the same in every epoch */
}

static int64_t rows_of(const void *self, enum sae_split split)
{
    return rows(self, split);
}

static int fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
                sae_err *err)
{
    if (rows(s, split) == 0)
        return SAE_RECORD(err, SAE_EINVAL, "no document for %s: change eval (now %g) or the seed",
                          split == SAE_SPLIT_EVAL ? "evaluation" : "training", s->o.eval);
    return live_fill(&s->v, split, row0, B, out, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void mark_excluded(sae_source *s)
{
    const sae_lm *m = s->v.lm;
    if (s->o.exclude != EXCLUDE_NONE && m->bos >= 0)
        s->v.excluded[m->bos] = 1;
    if (s->o.exclude == EXCLUDE_SPECIAL && m->eos >= 0)
        s->v.excluded[m->eos] = 1;
}

static int count_rows(sae_source *s, sae_err *err)
{
    const sae_contexts *c = &s->docs->c;
    for (int64_t i = 0; i < c->N; i++)
        for (int64_t t = c->start[i]; t < c->start[i + 1]; t++) {
            if (c->tok[t] < 0 || c->tok[t] >= s->v.vocab)
                return SAE_RECORD(err, SAE_EFORMAT,
                                  "document %lld: token %d, expected 0 to %lld: the tokenizer is "
                                  "not the model's", (long long)i, (int)c->tok[t],
                                  (long long)s->v.vocab - 1);
            s->kept[i] += !s->v.excluded[c->tok[t]];
        }
    return SAE_OK;
}

static int take_memory(sae_source *s)
{
    size_t N = (size_t)s->docs->c.N;
    int ok = (s->kept = calloc(N + 1, sizeof *s->kept)) != NULL;
    for (int i = 0; ok && i < 2; i++)
        ok = (s->split[i].which = calloc(N + 1, sizeof *s->split[i].which)) &&
             (s->split[i].turn = calloc(N + 1, sizeof *s->split[i].turn)) &&
             (s->split[i].at = calloc(N + 1, sizeof *s->split[i].at));
    return ok;
}

static int64_t longest_pass(const sae_source *s)
{
    const int64_t *start = s->docs->c.start;
    int64_t most = s->o.batch;
    for (int64_t i = 0; i < s->docs->c.N; i++)
        if (start[i + 1] - start[i] > most)
            most = start[i + 1] - start[i];
    return most;
}

static int open_live(sae_source *s, sae_err *err)
{
    s->v.owner = (live_owner){s, rows_of, arrange, turn_of, row_of, length_of, context_of};
    s->v.vocab = s->v.lm->vocab;
    s->v.buffer = s->o.buffer;
    s->v.batch = s->o.batch;
    s->v.longest = longest_pass(s);
    return live_open(&s->v, err);
}

static void deal(sae_source *s)
{
    for (int64_t i = 0; i < s->docs->c.N; i++) {
        order *q = &s->split[sae_split_of(s->v.host.seed, s->docs->doc[i], s->o.eval)];
        q->which[q->N++] = i;
    }
    arrange(s, SAE_SPLIT_TRAIN, 0);
    arrange(s, SAE_SPLIT_EVAL, 0);
}

/* The EVAL documents as contexts of their own. */
static int make_eval(sae_source *s)
{
    const order *q = &s->split[SAE_SPLIT_EVAL];
    const sae_contexts *c = &s->docs->c;
    int64_t total = 0, used = 0;
    for (int64_t i = 0; i < q->N; i++)
        total += c->start[q->which[i] + 1] - c->start[q->which[i]];
    int64_t *start = calloc((size_t)q->N + 1, sizeof *start);
    int32_t *tok = calloc((size_t)total + 1, sizeof *tok);
    uint64_t *doc = calloc((size_t)q->N + 1, sizeof *doc);
    s->eval = (sae_docs){.c = {q->N, start, tok}, .doc = doc};
    if (!start || !tok || !doc)
        return 0;
    for (int64_t i = 0; i < q->N; i++) {
        int64_t k = q->which[i], length = c->start[k + 1] - c->start[k];
        memcpy(tok + used, c->tok + c->start[k], (size_t)length * sizeof *tok);
        doc[i] = s->docs->doc[k];
        used += length;
        start[i + 1] = used;
    }
    return 1;
}

static void make_hash(sae_source *s)
{
    const sae_contexts *c = &s->docs->c;
    char tokens[36], starts[36], text[480];
    s->v.host.hash(c->tok, (size_t)c->start[c->N] * sizeof *c->tok, tokens);
    s->v.host.hash(c->start, (size_t)(c->N + 1) * sizeof *c->start, starts);
    int len = snprintf(text, sizeof text,
                       "lm 1 seed %llu model %s tokens %s %s hook %s exclude %lld eval %a "
                       "buffer %lld", (unsigned long long)s->v.host.seed, s->v.lm->weights_hash,
                       tokens, starts, s->v.hook, (long long)s->o.exclude, s->o.eval,
                       (long long)s->o.buffer);
    if (s->v.target[0])
        len += snprintf(text + len, sizeof text - (size_t)len, " target %s", s->v.target);
    s->v.host.hash(text, (size_t)len, s->hash);
}

static void close_source(sae_source **source)
{
    sae_source *s = *source;
    if (!s)
        return;
    s->v.host.docs_close(&s->docs);
    for (int i = 0; i < 2; i++) {
        free(s->split[i].which);
        free(s->split[i].turn);
        free(s->split[i].at);
    }
    free((void *)(uintptr_t)s->eval.c.start);
    free((void *)(uintptr_t)s->eval.c.tok);
    free((void *)(uintptr_t)s->eval.doc);
    free(s->kept);
    live_close(&s->v);
    free(s);
    *source = NULL;
}

static int open_parts(sae_source *s, sae_err *err)
{
    const options *o = &s->o;
    live *v = &s->v;
    SAE_TRY(live_open_lm(v, o->model, o->tokenizer, o->hook, o->target, err));
    SAE_TRY(v->host.docs_open(v->lm, o->text, o->separator, o->docs, &s->docs, err));
    int64_t tokens = s->docs->c.start[s->docs->c.N];
    s->o.buffer = s->o.buffer < tokens ? s->o.buffer : tokens;
    s->o.batch = s->o.batch < tokens ? s->o.batch : tokens;
    if (!take_memory(s))
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for an index of %lld documents",
                          (long long)s->docs->c.N);
    SAE_TRY(open_live(s, err));
    mark_excluded(s);
    SAE_TRY(count_rows(s, err));
    deal(s);
    if (!make_eval(s))
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for the evaluation documents");
    make_hash(s);
    return SAE_OK;
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    sae_source *s = *source = calloc(1, sizeof *s);
    if (!s)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory");
    memcpy(&s->o, opt, sizeof s->o);
    s->v.host = *host;
    int rc = open_parts(s, err);
    *dim = (sae_dims){.d_in = s->v.d, .d_out = s->v.d_out};
    if (rc < 0)
        close_source(source);
    return rc;
}

static int hash(const sae_source *s, char out[36])
{
    memcpy(out, s->hash, sizeof s->hash);
    return SAE_OK;
}

static int lm(const sae_source *s, sae_lm_view *out)
{
    *out = (sae_lm_view){.lm = s->v.lm, .hook = s->v.hook, .docs = &s->eval,
                         .target = s->v.target[0] ? s->v.target : NULL, .exclude = s->v.excluded};
    return SAE_OK;
}

static uint64_t supplies(const sae_source *s)
{
    return SAE_GIVES_TOKENS | SAE_GIVES_GRAD | SAE_GIVES_LM |
           (s->v.target[0] ? SAE_GIVES_TARGET : 0);
}

/* ---- descriptor ------------------------------------------------------------------------------ */

static const char *const exclude_names[] = {"none", "bos", "special", NULL};

static const sae_option table[] = {
    {"model", SAE_OPT_STR, 0, offsetof(options, model), 0, 0, 0, NULL, NULL, "path",
     "model directory or file"},
    {"tokenizer", SAE_OPT_STR, 0, offsetof(options, tokenizer), 0, 0, 0, NULL, "", "path",
     "tokenizer file; empty: the one beside the weights"},
    {"text", SAE_OPT_STR, 0, offsetof(options, text), 0, 0, 0, NULL, NULL, "path", "UTF-8 text"},
    {"separator", SAE_OPT_STR, 0, offsetof(options, separator), 0, 0, 0, NULL, "<|endoftext|>",
     "1", "line between documents; empty: one document"},
    {"hook", SAE_OPT_STR, 0, offsetof(options, hook), 0, 0, 0, NULL, NULL, "1", SAE_LM_HOOKS},
    {"target", SAE_OPT_STR, 0, offsetof(options, target), 0, 0, 0, NULL, "", "1",
     LIVE_TARGET_HELP},
    {"docs", SAE_OPT_INT, 0, offsetof(options, docs), 0, 0, 1e12, NULL, NULL, "documents",
     "documents to read, 0 for all"},
    {"exclude", SAE_OPT_ENUM, 0, offsetof(options, exclude), EXCLUDE_BOS, 0, EXCLUDE_SPECIAL,
     exclude_names, NULL, "1", "tokens whose rows are not shown: none, BOS, or BOS and EOS"},
    {"eval", SAE_OPT_REAL, 0, offsetof(options, eval), 0.1, 0, 1, NULL, NULL, "1",
     "share of the documents held out for evaluation"},
    {"buffer", SAE_OPT_INT, 0, offsetof(options, buffer), 65536, 1, 1e12, NULL, NULL, "rows",
     "rows that are shuffled together and kept in memory"},
    {"batch", SAE_OPT_INT, 0, offsetof(options, batch), 4096, 1, 1e12, NULL, NULL, "tokens",
     "tokens per forward pass of the model"},
    {0},
};

const sae_dataset sae_dataset_lm = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "lm",
    .summary = "activations of a language model, computed on demand",
    .source = "datasets/lm.md",
    .licence = "that of the model and the text",
    .gives = SAE_GIVES_TOKENS | SAE_GIVES_GRAD | SAE_GIVES_LM | SAE_GIVES_TARGET,
    .opt_size = sizeof(options),
    .options = table,
    .open = open_source,
    .rows = rows,
    .fill = fill,
    .close = close_source,
    .hash = hash,
    .lm = lm,
    .supplies = supplies,
};
