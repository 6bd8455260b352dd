/* suite/models/tokenizer_split.c - the pre-tokenizer: a chain of rewrites and cuts.
 *
 * Each piece goes through the rest of the chain before the next one is cut, so the pieces in
 * flight are as many as there are steps.
 */
#include "models/tokenizer_text.h"

#include "core/error.h"

typedef struct chain {
    const sae_steps *steps;
    sae_text *buf;
    const sae_scratch *w;
    sae_piece_fn fn;
    void *self;
} chain;

typedef struct span {
    size_t start, end;
    int match, any;
} span;

static int run(const chain *c, int at, const char *p, size_t len, int first);

/* Does the span belong to the piece in front of it? */
static int joins(enum sae_split_behavior behavior, const span *front, const span *s)
{
    if (!front->any || !s->any)
        return 0;
    switch (behavior) {
    case SAE_SPLIT_PREVIOUS:
        return s->match && !front->match;
    case SAE_SPLIT_NEXT:
        return front->match && !s->match;
    case SAE_SPLIT_JOINED:
        return s->match == front->match;
    default:
        return 0;
    }
}

/* Join the span to the pending piece, or send that on and make the span the pending one. */
static int push(const chain *c, int at, const char *p, span *pending, const span *s, int first)
{
    const sae_step *step = &c->steps->step[at];
    if (joins(step->behavior, pending, s)) {
        pending->end = s->end;
        pending->match = s->match;
        return SAE_OK;
    }
    span done = *pending;
    *pending = *s;
    if (!done.any || (done.match && step->behavior == SAE_SPLIT_REMOVED))
        return SAE_OK;
    return run(c, at + 1, p + done.start, done.end - done.start, first && done.start == 0);
}

static int cut(const chain *c, int at, const char *p, size_t len, int first)
{
    const sae_step *step = &c->steps->step[at];
    sae_search s = {.last = SIZE_MAX};
    span pending = {0}, none = {0};
    size_t done = 0;
    for (int found = 1; found;) {
        found = sae_pattern_next(&step->pattern, p, len, &s, c->w);
        if (found < 0)
            return found;
        span gap = {done, found ? s.start : len, step->invert, 1};
        if (gap.start < gap.end)
            SAE_TRY(push(c, at, p, &pending, &gap, first));
        if (found) {
            span match = {s.start, s.end, !step->invert, 1};
            SAE_TRY(push(c, at, p, &pending, &match, first));
            done = s.end;
        }
    }
    return push(c, at, p, &pending, &none, first);
}

static int rewrite(const chain *c, int at, const char *p, size_t len, int first)
{
    const sae_rewrite *r = &c->steps->step[at].rewrite;
    sae_text *out = &c->buf[at];
    out->len = 0;
    SAE_TRY(r->apply(r, p, len, first, out, c->w));
    if (out->failed)
        SAE_FAIL(c->w->err, SAE_ENOMEM, "out of memory");
    return run(c, at + 1, out->p, out->len, first);
}

static int run(const chain *c, int at, const char *p, size_t len, int first)
{
    if (len == 0)
        return SAE_OK;
    if (at == c->steps->count)
        return c->fn(c->self, p, len);
    return (c->steps->step[at].rewrite.apply ? rewrite : cut)(c, at, p, len, first);
}

int sae_steps_run(const sae_steps *s, const char *p, size_t len, int first, sae_text *buf,
                  const sae_scratch *w, sae_piece_fn fn, void *self)
{
    chain c = {s, buf, w, fn, self};
    return run(&c, 0, p, len, first);
}

void sae_steps_close(sae_steps *s)
{
    for (int i = 0; i < s->count; i++) {
        sae_rewrite_close(&s->step[i].rewrite);
        sae_pattern_close(&s->step[i].pattern);
    }
    s->count = 0;
}
