/* tests/prop/datasets.c - the laws of every data source: rows are a pure function of (options,
 * seed, split, row), epochs are permutations, splits are disjoint, the hash follows the rows.
 */
#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/shards.h"
#include "core/spec.h"
#include "models/capture.h"
#include "support/stand_in.h"
#include "support/support.h"
#include <sae/half.h>

#include <stdlib.h>
#include <string.h>

/* ---- sources to try -------------------------------------------------------------------------- */

enum { B = 40 };

typedef struct source { /* an opened data set and the rows of one fill */
    sae_spec spec;
    const sae_dataset *ds;
    sae_source *s;
    sae_dims dim;
} source;

typedef struct batch {
    sae_real *x, *y, *g;
    sae_token *tok;
    int64_t d, d_out;
} batch;

static sae_registry *reg;
static char shards_dir[1024]; /* with gradients; targets are in DIR.y, other tokens in DIR.z */

/* Rows of 43 documents of 7 rows; the last document has 6. Gradients where asked for; the first
 * token is `first`. */
static void write_shards(const char *dir, int grads, int first)
{
    sae_err err = {0};
    sae_shards_info info = {.model = "m",
                            .weights_hash = "w",
                            .hook = "h",
                            .tokenizer_hash = "t",
                            .text = "text",
                            .text_hash = "x",
                            .d = 6,
                            .dtype = SAE_ST_BF16,
                            .rows_per_shard = 64,
                            .grads = grads,
                            .grads_dtype = SAE_ST_F16};
    sae_shards_writer *w;
    ck_assert_ok(sae_shards_writer_open(&w, dir, &info, &err), err);
    for (int64_t i = 0; i < 300; i++) {
        float x[6], g[6];
        for (int64_t j = 0; j < 6; j++) {
            x[j] = (float)stand_in_value((uint64_t)i, j, 2);
            g[j] = (float)stand_in_value((uint64_t)i, j, 3);
        }
        /* numbers of documents far apart, as from a selection */
        sae_token tok = {(uint64_t)(i / 7) * 1000003, (uint32_t)(i % 7),
                         (uint32_t)(i + first) % 50};
        ck_assert_ok(sae_shards_writer_add(w, 1, x, g, &tok, &err), err);
    }
    ck_assert_ok(sae_shards_writer_commit(&w, &err), err);
}

static void setup(void)
{
    sae_err err = {0};
    char beside[sizeof shards_dir + 8];
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    snprintf(shards_dir, sizeof shards_dir, "%s/shards", test_dir());
    write_shards(shards_dir, 1, 0);
    snprintf(beside, sizeof beside, "%s.y", shards_dir);
    write_shards(beside, 0, 0);
    snprintf(beside, sizeof beside, "%s.z", shards_dir);
    write_shards(beside, 0, 1);
}

static void teardown(void)
{
    sae_registry_close(&reg);
}

/* %s in a spec, up to twice, stands for the directory of the shards. */
static int try_open(source *o, const char *spec, uint64_t seed, sae_err *err)
{
    char *text = sae_strdup(spec);
    for (char *at; (at = strstr(text, "%s"));) {
        char *more = sae_strfmt("%.*s%s%s", (int)(at - text), text, shards_dir, at + 2);
        sae_free(text);
        text = more;
    }
    sae_host host = stand_in_host(seed);
    *o = (source){0};
    int rc = sae_spec_parse(&o->spec, reg, SAE_KIND_DATASET, text, err);
    sae_free(text);
    SAE_TRY(rc);
    o->ds = o->spec.dataset;
    return o->ds->open(&o->s, sae_opts_base(o->spec.opts), &host, &o->dim, err);
}

static source open_source(const char *spec, uint64_t seed)
{
    source o;
    sae_err err = {0};
    ck_assert_ok(try_open(&o, spec, seed, &err), err);
    return o;
}

static void close_source(source *o)
{
    o->ds->close(&o->s);
    ck_assert_ptr_null(o->s);
    o->ds->close(&o->s);
    sae_spec_free(&o->spec);
    ck_assert_int_eq(stand_in_passes, 0);
}

static batch batch_open(const source *o, int64_t rows)
{
    batch b = {.d = o->dim.d_in, .d_out = o->dim.d_out};
    size_t floats = (size_t)(rows * b.d) * sizeof(sae_real);
    b.x = malloc(floats);
    uint64_t gives = sae_source_gives(o->ds, o->s);
    ck_assert(b.d == b.d_out || gives & SAE_GIVES_TARGET);
    b.y = gives & SAE_GIVES_TARGET ? malloc((size_t)(rows * b.d_out) * sizeof *b.y) : NULL;
    b.g = gives & SAE_GIVES_GRAD ? malloc(floats) : NULL;
    b.tok = gives & SAE_GIVES_TOKENS ? malloc((size_t)rows * sizeof *b.tok) : NULL;
    memset(b.x, 0xAA, floats);
    return b;
}

static void batch_close(batch *b)
{
    free(b->x);
    free(b->y);
    free(b->g);
    free(b->tok);
}

/* Rows [row0, row0 + n) to place `at` of the batch. */
static void fill_at(source *o, batch *b, int64_t at, enum sae_split split, uint64_t row0, int64_t n)
{
    sae_err err = {0};
    sae_fill out = {.x = b->x + at * b->d,
                    .y = b->y ? b->y + at * b->d_out : NULL,
                    .g = b->g ? b->g + at * b->d : NULL,
                    .tok = b->tok ? b->tok + at : NULL};
    ck_assert_ok(o->ds->fill(o->s, split, row0, n, &out, &err), err);
}

static void assert_same(const batch *a, const batch *b, int64_t rows, const char *what)
{
    size_t floats = (size_t)(rows * a->d) * sizeof(sae_real);
    ck_assert_msg(!memcmp(a->x, b->x, floats), "x: %s", what);
    ck_assert_msg(!a->y || !memcmp(a->y, b->y, (size_t)(rows * a->d_out) * sizeof *a->y), "y: %s",
                  what);
    ck_assert_msg(!a->g || !memcmp(a->g, b->g, floats), "g: %s", what);
    for (int64_t r = 0; a->tok && r < rows; r++)
        ck_assert_msg(a->tok[r].doc == b->tok[r].doc && a->tok[r].pos == b->tok[r].pos &&
                          a->tok[r].id == b->tok[r].id,
                      "tok %d: %s", (int)r, what);
}

#define SHARDS_SPEC "shards:dir=\"%s\",eval=0.3"
#define LM_SPEC "lm:model=m,text=a,hook=resid_post.0,buffer=50,batch=20,eval=0.3"
#define SHARDS_TARGET "shards:dir=\"%s\",target=\"%s.y\",eval=0.3"
#define LM_TARGET "lm:model=m,text=a,hook=resid_post.0,target=later.0,buffer=50,batch=20,eval=0.3"
static const char *const specs[] = {
    "synthetic", /* all defaults: the spec of a source that is not in this list */
    "synthetic:d=12,features=40,l0=3,noise=0.1,offset=2,zipf=1,symmetric=1,pairs=0.3,rows=97",
    "synthetic:d=12,features=40,l0=3,firing=exact,coef=tail,unit=row,rows=64",
    "synthetic:d=12,features=9,l0=3,firing=exact,pairs=0.5,decay=1,scale=3,atoms=orthogonal",
    "tree",
    "tree:setting=hedging,d=7,magnitude_sd=0.4,rows=50",
    "correlated",
    "correlated:setting=sharkey,d=9,noise=0.1",
    "correlated:setting=sharkey_correlated,d=9",
    "correlated:setting=negative",
    "synthsae:d=16,features=700,roots=12,rows=80",
    "synthsae:d=5,features=90,roots=9,branching=3,depth=5,rank=0,exclusive=0,noise=0.1",
    "clusters",
    "clusters:setting=heterogeneity,rows=90",
    SHARDS_SPEC,
    LM_SPEC,
    "lm:model=m,text=a,hook=resid_post.0,exclude=none",
    "lm:model=m,text=a,hook=resid_post.0,buffer=7,batch=1,exclude=special,eval=0.5",
    "organism:model=none,buffer=2000",
    "organism:model=none,length=20,eval=7,buffer=37,exclude=none",
    SHARDS_TARGET,
    LM_TARGET,
};
enum { SPECS = sizeof specs / sizeof specs[0] };

START_TEST(every_source_is_tested)
{
    const sae_dataset *const *all = sae_all_datasets(reg);
    for (; *all; all++) {
        int found = 0;
        for (size_t i = 0; i < SPECS; i++)
            found |= !strncmp(specs[i], (*all)->name, strlen((*all)->name));
        ck_assert_msg(found, "add a spec of %s to this test", (*all)->name);
    }
}
END_TEST

/* ---- laws ------------------------------------------------------------------------------------ */

START_TEST(concatenation_and_purity)
{
    source o = open_source(specs[_i], 5), fresh = open_source(specs[_i], 5);
    batch whole = batch_open(&o, B), parts = batch_open(&o, B);
    for (int split = 0; split < 2; split++) {
        int64_t n = o.ds->rows(o.s, (enum sae_split)split); /* one of the starts crosses an epoch */
        const uint64_t starts[] = {0, 131, 393, n > B / 2 ? (uint64_t)(n - B / 2) : 4000};
        for (int k = 0; k < 4; k++) {
            uint64_t row0 = starts[k];
            fill_at(&o, &whole, 0, (enum sae_split)split, row0, B);
            for (int64_t i = 0; i < B; i++) { /* one by one, in another order, via other rows */
                int64_t r = (i * 17 + 3) % B;
                fill_at(&o, &parts, r, (enum sae_split) !split, row0 + 1000, 1);
                fill_at(&o, &parts, r, (enum sae_split)split, row0 + (uint64_t)r, 1);
            }
            assert_same(&whole, &parts, B, "rows one by one");
            fill_at(&o, &parts, 0, (enum sae_split)split, row0, 13);
            fill_at(&o, &parts, 13, (enum sae_split)split, row0 + 13, B - 13);
            assert_same(&whole, &parts, B, "two parts");
            fill_at(&fresh, &parts, 0, (enum sae_split)split, row0, B);
            assert_same(&whole, &parts, B, "a fresh source");
        }
    }
    batch_close(&whole);
    batch_close(&parts);
    close_source(&o);
    close_source(&fresh);
}
END_TEST

START_TEST(wanted_parts_only)
{
    source o = open_source(specs[_i], 5);
    batch all = batch_open(&o, B), some = batch_open(&o, B);
    sae_err err = {0};
    ck_assert_ok(o.ds->fill(o.s, SAE_SPLIT_TRAIN, 9, B, &(sae_fill){.x = some.x}, &err), err);
    if (some.tok)
        ck_assert_ok(o.ds->fill(o.s, SAE_SPLIT_TRAIN, 9, B, &(sae_fill){.tok = some.tok}, &err),
                     err);
    if (some.y)
        ck_assert_ok(o.ds->fill(o.s, SAE_SPLIT_TRAIN, 9, B, &(sae_fill){.y = some.y}, &err), err);
    if (some.g)
        ck_assert_ok(o.ds->fill(o.s, SAE_SPLIT_TRAIN, 9, B, &(sae_fill){.g = some.g}, &err), err);
    fill_at(&o, &all, 0, SAE_SPLIT_TRAIN, 9, B);
    assert_same(&all, &some, B, "part by part");
    ck_assert_ok(o.ds->fill(o.s, SAE_SPLIT_TRAIN, 9, 0, &(sae_fill){0}, &err), err);
    batch_close(&all);
    batch_close(&some);
    close_source(&o);
}
END_TEST

static int by_place(const void *a, const void *b)
{
    const sae_token *x = a, *y = b;
    if (x->doc != y->doc)
        return x->doc < y->doc ? -1 : 1;
    return (x->pos > y->pos) - (x->pos < y->pos);
}

START_TEST(epochs_and_splits)
{
    source o = open_source(specs[_i], 11);
    int64_t n = o.ds->rows(o.s, SAE_SPLIT_TRAIN), e = o.ds->rows(o.s, SAE_SPLIT_EVAL);
    if (n > 0) {
        batch first = batch_open(&o, n), second = batch_open(&o, n);
        fill_at(&o, &first, 0, SAE_SPLIT_TRAIN, 0, n);
        fill_at(&o, &second, 0, SAE_SPLIT_TRAIN, (uint64_t)n, n);
        size_t bytes = (size_t)n * sizeof *first.tok;
        ck_assert_msg(memcmp(first.tok, second.tok, bytes) != 0, "epochs have the same order");
        qsort(first.tok, (size_t)n, sizeof *first.tok, by_place);
        qsort(second.tok, (size_t)n, sizeof *second.tok, by_place);
        ck_assert_msg(!memcmp(first.tok, second.tok, bytes), "an epoch is not a permutation");
        for (int64_t i = 1; i < n; i++)
            ck_assert_msg(by_place(&first.tok[i - 1], &first.tok[i]) < 0, "a row appears twice");
        batch_close(&second);
        int64_t rows = e > 0 ? e : 100;
        batch eval = batch_open(&o, rows);
        fill_at(&o, &eval, 0, SAE_SPLIT_EVAL, 0, rows);
        for (int64_t i = 0; i < rows; i++) {
            ck_assert_msg(i == 0 || by_place(&eval.tok[i - 1], &eval.tok[i]) < 0,
                          "EVAL is not in document order");
            for (int64_t r = 0; r < n; r++)
                ck_assert_msg(first.tok[r].doc != eval.tok[i].doc, "document in both splits");
        }
        batch_close(&eval);
        batch_close(&first);
    }
    if (e > 0) { /* EVAL starts again */
        batch first = batch_open(&o, e), second = batch_open(&o, e);
        fill_at(&o, &first, 0, SAE_SPLIT_EVAL, 0, e);
        fill_at(&o, &second, 0, SAE_SPLIT_EVAL, (uint64_t)e, e);
        assert_same(&first, &second, e, "EVAL wraps");
        batch_close(&first);
        batch_close(&second);
    }
    close_source(&o);
}
END_TEST

static const struct {
    const char *a, *b;
    int seed_b, same; /* seed of a is 5 */
} pairs[] = {
    {"organism:model=none", "organism:model=none", 5, 1},
    {"organism:model=none", "organism:model=none,batch=9", 5, 1},
    {"organism:model=none", "organism:model=none", 6, 0},
    {"organism:model=none", "organism:model=none,length=127", 5, 0},
    {"organism:model=none", "organism:model=none,exclude=none", 5, 0},
    {"organism:model=none", "organism:model=none,buffer=1000", 5, 0},
    {"organism:model=none", "organism:model=none,spurious=0", 5, 0},
    {"organism:model=none", "organism:model=none,zipf=1", 5, 0},
    {"organism:model=none", "organism:model=none,purity=0.8", 5, 0},
    {"organism:model=none,length=20,eval=1", "organism:model=none,length=20,eval=2", 5, 0},
    {"shards:dir=\"%s\"", "shards:dir=\"%s/\"", 5, 1},
    {"shards:dir=\"%s\"", "shards:dir=\"%s\"", 6, 0},
    {"shards:dir=\"%s\"", "shards:dir=\"%s\",eval=0.2", 5, 0},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=other,text=ab,hook=resid_post.0", 5, 1},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=a,hook=resid_post.0,batch=9", 5, 1},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=a,hook=resid_post.0", 6, 0},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=b,hook=resid_post.0", 5, 0},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=a,hook=resid_post.0,docs=59", 5, 0},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=a,hook=resid_post.0,eval=.2", 5, 0},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=a,hook=resid_post.0,buffer=9", 5, 0},
    {"lm:model=m,text=a,hook=resid_post.0", "lm:model=m,text=a,hook=resid_post.0,exclude=none", 5,
     0},
};

/* The hash is equal exactly when the first rows of both splits are. */
START_TEST(hash_follows_rows)
{
    source a = open_source(pairs[_i].a, 5), b;
    batch x = batch_open(&a, 500), y;
    char hash_a[36], hash_b[36];
    ck_assert_int_eq(a.ds->hash(a.s, hash_a), SAE_OK);
    ck_assert_uint_eq(strspn(hash_a, "0123456789abcdef"), 32);
    fill_at(&a, &x, 0, SAE_SPLIT_TRAIN, 0, 450);
    fill_at(&a, &x, 450, SAE_SPLIT_EVAL, 0, 50);
    close_source(&a); /* the stand-in holds one set of documents */
    b = open_source(pairs[_i].b, (uint64_t)pairs[_i].seed_b);
    y = batch_open(&b, 500);
    ck_assert_int_eq(b.ds->hash(b.s, hash_b), SAE_OK);
    fill_at(&b, &y, 0, SAE_SPLIT_TRAIN, 0, 450);
    fill_at(&b, &y, 450, SAE_SPLIT_EVAL, 0, 50);
    int rows = x.d == y.d && !memcmp(x.x, y.x, (size_t)(500 * x.d) * sizeof *x.x);
    ck_assert_msg(rows == pairs[_i].same, "%s and %s: rows %s", pairs[_i].a, pairs[_i].b,
                  rows ? "equal" : "differ");
    ck_assert_msg((strcmp(hash_a, hash_b) == 0) == pairs[_i].same, "%s and %s: hash", pairs[_i].a,
                  pairs[_i].b);
    batch_close(&x);
    batch_close(&y);
    close_source(&b);
}
END_TEST

/* ---- particular to one source ---------------------------------------------------------------- */

START_TEST(lm_rows_are_activations)
{
    source o = open_source(LM_SPEC, 5);
    int64_t n = o.ds->rows(o.s, SAE_SPLIT_TRAIN);
    batch b = batch_open(&o, n);
    fill_at(&o, &b, 0, SAE_SPLIT_TRAIN, 0, n);
    for (int64_t r = 0; r < n; r++) {
        const int32_t *tok = stand_in_docs.c.tok + stand_in_docs.c.start[b.tok[r].doc];
        uint64_t history = 0;
        for (uint32_t t = 0; t <= b.tok[r].pos; t++)
            history = history * 31 + (uint64_t)tok[t];
        ck_assert_uint_eq(b.tok[r].id, (uint32_t)tok[b.tok[r].pos]);
        ck_assert_uint_ne(b.tok[r].id, LM_BOS);
        for (int64_t j = 0; j < LM_D; j++) {
            ck_assert(b.x[r * LM_D + j] == (sae_real)stand_in_value(history, j, 0));
            ck_assert(b.g[r * LM_D + j] == (sae_real)(1.0f - stand_in_value(history, j, 0)));
        }
    }
    ck_assert_int_le(stand_in_most_tokens, 20); /* batch=20 > the longest context */
    sae_lm_view v;
    ck_assert_int_eq(o.ds->lm(o.s, &v), SAE_OK);
    ck_assert_str_eq(v.hook, "resid_post.0");
    ck_assert(v.exclude[LM_BOS] && !v.exclude[LM_EOS]);
    ck_assert_int_gt(v.docs->c.N, 0);
    for (int64_t i = 0; i < v.docs->c.N; i++) {
        int64_t k = (int64_t)v.docs->doc[i], len = v.docs->c.start[i + 1] - v.docs->c.start[i];
        ck_assert_int_eq(sae_split_of(5, (uint64_t)k, 0.3), SAE_SPLIT_EVAL);
        ck_assert_int_eq(len, stand_in_docs.c.start[k + 1] - stand_in_docs.c.start[k]);
        ck_assert_mem_eq(v.docs->c.tok + v.docs->c.start[i],
                         stand_in_docs.c.tok + stand_in_docs.c.start[k],
                         (size_t)len * sizeof(int32_t));
    }
    batch_close(&b);
    close_source(&o);
}
END_TEST

static sae_capture capture_of(const char *dir, const sae_docs *docs, const char *text)
{
    return (sae_capture){.lm = &stand_in_lm,
                         .hook = "resid_post.0",
                         .docs = docs,
                         .dir = dir,
                         .model = "m",
                         .text = text,
                         .dtype = SAE_ST_F32,
                         .grads = 1,
                         .grads_dtype = SAE_ST_F32,
                         .rows_per_shard = 30,
                         .batch = 25};
}

/* What is captured is what the live source shows. */
START_TEST(capture_equals_live)
{
    sae_err err = {0};
    source live = open_source("lm:model=m,text=a,hook=resid_post.0,eval=0.3", 5);
    char *text = sae_path_join(test_dir(), "text"), *dir = sae_path_join(test_dir(), "captured");
    unsigned char exclude[LM_VOCAB] = {[LM_BOS] = 1};
    ck_assert_ok(sae_file_write(text, "a", 1, &err), err);
    sae_capture c = capture_of(dir, &stand_in_docs, text);
    c.exclude = exclude;
    int64_t rows = 0;
    ck_assert_ok(sae_capture_run(&c, &rows, &err), err);
    ck_assert_ok(sae_shards_verify(dir, &err), err);
    char *spec = sae_strfmt("shards:dir=\"%s\",eval=0.3", dir);
    source disk = open_source(spec, 5);
    int64_t train = disk.ds->rows(disk.s, SAE_SPLIT_TRAIN);
    int64_t n = disk.ds->rows(disk.s, SAE_SPLIT_EVAL);
    ck_assert_int_eq(rows, train + n);
    ck_assert_int_eq(train, live.ds->rows(live.s, SAE_SPLIT_TRAIN));
    ck_assert_int_eq(n, live.ds->rows(live.s, SAE_SPLIT_EVAL));
    batch a = batch_open(&disk, n), b = batch_open(&live, n);
    ck_assert(a.g && b.g);
    fill_at(&disk, &a, 0, SAE_SPLIT_EVAL, 0, n);
    fill_at(&live, &b, 0, SAE_SPLIT_EVAL, 0, n);
    assert_same(&a, &b, n, "captured and live");
    batch_close(&a);
    batch_close(&b);
    close_source(&disk);
    close_source(&live);
    sae_free(spec);
    sae_free(text);
    sae_free(dir);
}
END_TEST

/* A target stands beside its row: the numbers of the same token. */
START_TEST(targets_stand_beside_rows)
{
    source disk = open_source(SHARDS_TARGET, 5), live = open_source(LM_TARGET, 5);
    batch a = batch_open(&disk, B), b = batch_open(&live, B);
    ck_assert_int_eq(live.dim.d_out, LM_TARGET_D);
    for (int split = 0; split < 2; split++) {
        fill_at(&disk, &a, 0, (enum sae_split)split, 3, B);
        ck_assert_mem_eq(a.x, a.y, (size_t)(B * a.d) * sizeof *a.x); /* both were written alike */
        fill_at(&live, &b, 0, (enum sae_split)split, 3, B);
        for (int64_t r = 0; r < B; r++) {
            const sae_contexts *c = &stand_in_docs.c;
            uint64_t history = 0;
            for (int64_t t = 0; t <= b.tok[r].pos; t++)
                history = history * 31 + (uint64_t)c->tok[c->start[b.tok[r].doc] + t];
            for (int64_t j = 0; j < LM_TARGET_D; j++)
                ck_assert(b.y[r * LM_TARGET_D + j] == stand_in_value(history, j, 9));
            ck_assert(b.x[r * LM_D] == stand_in_value(history, 0, 0));
        }
    }
    batch_close(&a);
    batch_close(&b);
    close_source(&disk);
    close_source(&live);
}
END_TEST

/* Gradients are those of the row's place in the file, rounded; shards without them supply none. */
START_TEST(shards_with_and_without_gradients)
{
    sae_err err = {0};
    char *plain = sae_path_join(test_dir(), "plain");
    write_shards(plain, 0, 0);
    char *spec = sae_strfmt("shards:dir=\"%s\",eval=0.3", plain);
    source with = open_source(SHARDS_SPEC, 5), without = open_source(spec, 5);
    ck_assert_uint_eq(sae_source_gives(with.ds, with.s), SAE_GIVES_TOKENS | SAE_GIVES_GRAD);
    ck_assert_uint_eq(sae_source_gives(without.ds, without.s), SAE_GIVES_TOKENS);
    batch a = batch_open(&with, B), b = batch_open(&without, B);
    fill_at(&with, &a, 0, SAE_SPLIT_TRAIN, 0, B);
    for (int64_t r = 0; r < B; r++)
        for (int64_t j = 0; j < 6; j++) {
            uint64_t row = a.tok[r].doc / 1000003 * 7 + a.tok[r].pos;
            uint16_t g = sae_float_f16((float)stand_in_value(row, j, 3));
            ck_assert(a.g[r * 6 + j] == (sae_real)sae_f16_float(g));
        }
    sae_real untouched = 7;
    sae_fill out = {.x = b.x, .g = &untouched};
    ck_assert_ok(without.ds->fill(without.s, SAE_SPLIT_TRAIN, 0, B, &out, &err), err);
    ck_assert(untouched == 7 && !memcmp(a.x, b.x, sizeof(sae_real) * B * 6));
    batch_close(&a);
    batch_close(&b);
    close_source(&with);
    close_source(&without);
    sae_free(spec);
    sae_free(plain);
}
END_TEST

START_TEST(capture_interrupted)
{
    sae_err err = {0};
    source live = open_source("lm:model=m,text=a,hook=resid_post.0", 5);
    size_t before = sae_alloc_live();
    char *text = sae_path_join(test_dir(), "text"), *dir = sae_path_join(test_dir(), "captured");
    ck_assert_ok(sae_file_write(text, "a", 1, &err), err);
    sae_capture c = capture_of(dir, &stand_in_docs, text);
    int64_t rows = 0;
    sae_interrupt();
    ck_assert_int_eq(sae_capture_run(&c, &rows, &err), SAE_EINTR);
    char **names;
    ck_assert_ok(sae_dir_list(test_dir(), &names, &err), err);
    for (char **n = names; *n; n++)
        ck_assert_msg(strncmp(*n, "captured", 8) != 0, "%s is left", *n);
    sae_names_free(&names);
    sae_free(text);
    sae_free(dir);
    ck_assert_uint_eq(sae_alloc_live(), before);
    ck_assert_int_eq(stand_in_passes, 0);
    close_source(&live);
}
END_TEST

static const struct {
    const char *spec, *message;
} refused[] = {
    {"lm:model=m,text=a,hook=resid_post.9", "expected resid_post.0"},
    {"lm:model=m,text=a,hook=resid_post.0,target=resid_post.0", "expected later.0"},
    {"organism:model=none,target=resid_post.3", "target: expected a model"},
    {"shards:dir=\"%s\",target=\"%s.z\"", "its shard 0 is of other tokens"},
    {"shards:dir=/nowhere", "/nowhere/manifest.json"},
    {"synthetic:features=4,l0=5", "expected at most 4"},
    {"synthetic:features=8,l0=5,firing=exact", "expected at most 4"},
    {"synthetic:l0=1.5,firing=exact", "expects a whole l0"},
    {"synthetic:alt=0.5,l0_alt=2", "alt expects firing=exact"},
    {"tree:d=19", "expected at least the 20 features"},
    {"synthsae:p_min=0.5", "expected at most p_max"},
};

START_TEST(refusals)
{
    source o;
    sae_err err = {0};
    ck_assert_int_lt(try_open(&o, refused[_i].spec, 0, &err), 0);
    ck_assert_msg(strstr(err.msg, refused[_i].message) != NULL, "%s", err.msg);
    ck_assert_ptr_null(o.s);
    sae_spec_free(&o.spec);
}
END_TEST

START_TEST(empty_split)
{
    static const char *const all_train[] = {"shards:dir=\"%s\",eval=0",
                                            "lm:model=m,text=a,hook=resid_post.0,eval=0"};
    source o = open_source(all_train[_i], 0);
    sae_err err = {0};
    sae_token tok;
    ck_assert_int_eq(o.ds->rows(o.s, SAE_SPLIT_EVAL), 0);
    ck_assert_int_eq(o.ds->fill(o.s, SAE_SPLIT_EVAL, 0, 1, &(sae_fill){.tok = &tok}, &err),
                     SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "no document for evaluation"));
    close_source(&o);
}
END_TEST

Suite *suite_datasets(void)
{
    Suite *s = suite_create("datasets");
    TCase *tc = tcase_create("datasets");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_source_is_tested);
    tcase_add_loop_test(tc, concatenation_and_purity, 0, SPECS);
    tcase_add_loop_test(tc, wanted_parts_only, 0, SPECS);
    tcase_add_loop_test(tc, epochs_and_splits, 0, SPECS);
    tcase_add_loop_test(tc, hash_follows_rows, 0, (int)(sizeof pairs / sizeof pairs[0]));
    tcase_add_test(tc, lm_rows_are_activations);
    tcase_add_test(tc, capture_equals_live);
    tcase_add_test(tc, targets_stand_beside_rows);
    tcase_add_test(tc, shards_with_and_without_gradients);
    tcase_add_test(tc, capture_interrupted);
    tcase_add_loop_test(tc, refusals, 0, (int)(sizeof refused / sizeof refused[0]));
    tcase_add_loop_test(tc, empty_split, 0, 2);
    suite_add_tcase(s, tc);
    return s;
}
