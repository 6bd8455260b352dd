/* suite/models/capture.c - write the activations of a language model to shards. */
#include "models/capture.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/shards.h"

#include <string.h>

typedef struct state { /* a capture under way */
    const sae_capture *c;
    sae_shards_writer *w;
    int64_t d, rows;
    int64_t *start; /* [docs + 1] of a pass */
    float *grads;   /* [rows of the largest pass x d], NULL: not wanted */
    sae_token *tok; /* [ctx] of one context */
} state;

/* Rows of one context that are not excluded, in runs that lie together. grads: of its rows. */
static int write_context(state *s, int64_t context, const float *acts, const float *grads,
                         sae_err *err)
{
    const sae_contexts *c = &s->c->docs->c;
    const unsigned char *exclude = s->c->exclude;
    const int32_t *id = c->tok + c->start[context];
    int64_t length = c->start[context + 1] - c->start[context];
    for (int64_t first = 0, end; first < length; first = end + 1) {
        for (end = first; end < length && !(exclude && exclude[id[end]]); end++)
            s->tok[end - first] =
                (sae_token){s->c->docs->doc[context], (uint32_t)end, (uint32_t)id[end]};
        SAE_TRY(sae_shards_writer_add(s->w, end - first, acts + first * s->d,
                                      grads ? grads + first * s->d : NULL, s->tok, err));
        s->rows += end - first;
    }
    return SAE_OK;
}

/* Forward contexts [first, last), backward where gradients are wanted, and write their rows. */
static int run_pass(state *s, int64_t first, int64_t last, sae_err *err)
{
    const sae_contexts *c = &s->c->docs->c;
    const sae_lm *lm = s->c->lm;
    sae_lm_pass *pass = NULL;
    for (int64_t i = first; i <= last; i++)
        s->start[i - first] = c->start[i] - c->start[first];
    sae_contexts batch = {last - first, s->start, c->tok + c->start[first]};
    int rc;
    SAE_GOTO(lm->begin(lm->self, s->c->hook, &batch, &pass, err));
    if (s->grads)
        SAE_GOTO(lm->finish(pass, NULL, &(sae_lm_out){.grad = s->grads}, err));
    for (int64_t i = first; i < last && rc >= 0; i++) {
        int64_t at = s->start[i - first] * s->d;
        rc = write_context(s, i, lm->acts(pass) + at, s->grads ? s->grads + at : NULL, err);
    }
fail:
    lm->end(&pass);
    return rc;
}

/* Contexts from `first` on that fit in one pass; at least one. */
static int64_t pass_end(const state *s, int64_t first)
{
    const sae_contexts *c = &s->c->docs->c;
    int64_t last = first + 1;
    while (last < c->N && c->start[last + 1] - c->start[first] <= s->c->batch)
        last++;
    return last;
}

static int run_all(state *s, sae_progress *p, sae_err *err)
{
    const sae_contexts *c = &s->c->docs->c;
    for (int64_t first = 0, last; first < c->N; first = last) {
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "%s: capture was interrupted", s->c->dir);
        last = pass_end(s, first);
        SAE_TRY(run_pass(s, first, last, err));
        sae_progress_at(p, (double)c->start[last]);
    }
    return SAE_OK;
}

static int open_writer(state *s, sae_err *err)
{
    const sae_capture *c = s->c;
    char text_hash[36];
    SAE_TRY(sae_hash_file(c->text, text_hash, err));
    sae_shards_info info = {.model = c->model,
                            .weights_hash = c->lm->weights_hash,
                            .hook = c->hook,
                            .tokenizer_hash = c->lm->tokenizer_hash,
                            .text = c->text,
                            .text_hash = text_hash,
                            .d = s->d,
                            .dtype = c->dtype,
                            .rows_per_shard = c->rows_per_shard,
                            .grads = c->grads,
                            .grads_dtype = c->grads_dtype};
    return sae_shards_writer_open(&s->w, c->dir, &info, err);
}

static int take_memory(state *s, sae_err *err)
{
    const sae_contexts *c = &s->c->docs->c;
    int64_t longest = 0, most = 0; /* rows of a context, of a pass */
    for (int64_t i = 0; i < c->N; i++) {
        int64_t length = c->start[i + 1] - c->start[i];
        longest = length > longest ? length : longest;
    }
    for (int64_t i = 0, last; i < c->N; i = last) {
        last = pass_end(s, i);
        most = c->start[last] - c->start[i] > most ? c->start[last] - c->start[i] : most;
    }
    SAE_TRY(sae_new(&s->start, c->N + 1, sizeof *s->start, "capture.start", err));
    SAE_TRY(sae_new(&s->tok, longest, sizeof *s->tok, "capture.tokens", err));
    return s->c->grads ? sae_new(&s->grads, most * s->d, sizeof *s->grads, "capture.grads", err)
                       : SAE_OK;
}

int sae_capture_run(const sae_capture *c, int64_t *rows, sae_err *err)
{
    state s = {.c = c};
    sae_progress p;
    int rc;
    sae_progress_open(&p, "capture", "tokens", (double)c->docs->c.start[c->docs->c.N]);
    SAE_GOTO(c->lm->hook(c->lm->self, c->hook, &s.d, err));
    SAE_GOTO(take_memory(&s, err));
    SAE_GOTO(open_writer(&s, err));
    SAE_GOTO(run_all(&s, &p, err));
    SAE_GOTO(sae_shards_writer_commit(&s.w, err));
    *rows = s.rows;
fail:
    sae_progress_close(&p);
    sae_shards_writer_abandon(&s.w);
    sae_free(s.start);
    sae_free(s.tok);
    sae_free(s.grads);
    return rc;
}
