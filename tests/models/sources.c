/* tests/models/sources.c - live and captured activations of a trained model. */
#include "core/memory.h"
#include "core/shards.h"
#include "core/spec.h"
#include "models/capture.h"
#include "models/docs.h"
#include "models/lm_file.h"
#include "run/host.h"
#include "support/support.h"

#include <string.h>

enum { DOCS = 12, D = 64, ROWS = 700 };

typedef struct world {
    sae_registry *reg;
    sae_engine e;
    sae_host host;
    sae_spec spec;
    const sae_dataset *ds;
    sae_source *s;
} world;

static int open_world(world *w, const char *text)
{
    sae_err err = {0};
    sae_dims dim;
    *w = (world){0};
    ck_assert_ok(sae_registry_open(&w->reg, &err), err);
    ck_assert_ok(sae_engine_open(&w->e, sae_find_backend(w->reg, "ref"), 0, 0, &err), err);
    w->host = sae_host_make(&w->e, 9);
    ck_assert_ok(sae_spec_parse(&w->spec, w->reg, SAE_KIND_DATASET, text, &err), err);
    w->ds = w->spec.dataset;
    ck_assert_ok(w->ds->open(&w->s, sae_opts_base(w->spec.opts), &w->host, &dim, &err), err);
    ck_assert_int_eq(dim.d_in, D);
    return SAE_OK;
}

static void close_world(world *w)
{
    w->ds->close(&w->s);
    sae_spec_free(&w->spec);
    sae_engine_close(&w->e);
    sae_registry_close(&w->reg);
}

static char *lm_spec(const char *model, const char *text, int buffer, int batch)
{
    return sae_strfmt("lm:model=\"%s\",tokenizer=\"%s\",text=\"%s\",hook=resid_post.2,docs=%d,"
                      "eval=0.4,buffer=%d,batch=%d", model, test_data("stories260k/tok512.bin"),
                      text, DOCS, buffer, batch);
}

static void fill_both(world *w, float *x, sae_token *tok)
{
    sae_err err = {0};
    for (int split = 0; split < 2; split++)
        ck_assert_ok(w->ds->fill(w->s, (enum sae_split)split, 0, ROWS,
                                 &(sae_fill){.x = x + split * ROWS * D, .tok = tok + split * ROWS},
                                 &err), err);
}

/* Rows do not depend on the size of forward passes, bit for bit. */
START_TEST(batch_changes_nothing)
{
    const char *model = test_data("stories260k/stories260K.bin");
    const char *text = test_data("tinystories-sample/stories_0001_1800.txt");
    if (!model || !text)
        return;
    static float x[2][2 * ROWS * D];
    static sae_token tok[2][2 * ROWS];
    for (int i = 0; i < 2; i++) {
        world w;
        char *spec = lm_spec(model, text, 500, i ? 1 : 4096);
        open_world(&w, spec);
        fill_both(&w, x[i], tok[i]);
        close_world(&w);
        sae_free(spec);
    }
    ck_assert(!memcmp(x[0], x[1], sizeof x[0]));
    for (int r = 0; r < 2 * ROWS; r++)
        ck_assert(tok[0][r].doc == tok[1][r].doc && tok[0][r].pos == tok[1][r].pos);
}
END_TEST

/* Captured in f32, the evaluation rows are those of the live source. */
START_TEST(capture)
{
    const char *model = test_data("stories260k/stories260K.bin");
    const char *text = test_data("tinystories-sample/stories_0001_1800.txt");
    if (!model || !text)
        return;
    static float x[2][2 * ROWS * D];
    static sae_token tok[2][2 * ROWS];
    sae_err err = {0};
    world live, disk;
    sae_lm *lm;
    sae_docs *docs;
    char *spec = lm_spec(model, text, 500, 4096), *dir = sae_path_join(test_dir(), "acts");
    open_world(&live, spec);
    ck_assert_ok(live.host.lm_open(&live.host, model, test_data("stories260k/tok512.bin"), &lm,
                                   &err), err);
    ck_assert_ok(sae_docs_open(lm, text, "<|endoftext|>", DOCS, &docs, &err), err);
    unsigned char exclude[512] = {0};
    exclude[lm->bos] = 1;
    sae_capture c = {.lm = lm, .hook = "resid_post.2", .docs = docs, .exclude = exclude,
                     .dir = dir, .model = model, .text = text, .dtype = SAE_ST_F32,
                     .rows_per_shard = 1000, .batch = 512};
    int64_t rows = 0;
    ck_assert_ok(sae_capture_run(&c, &rows, &err), err);
    ck_assert_int_eq(rows, docs->c.start[DOCS] - DOCS);
    sae_docs_close(&docs);
    sae_lm_close(&lm);
    ck_assert_ok(sae_shards_verify(dir, &err), err);
    char *shards = sae_strfmt("shards:dir=\"%s\",eval=0.4", dir);
    open_world(&disk, shards);
    fill_both(&live, x[0], tok[0]);
    fill_both(&disk, x[1], tok[1]);
    ck_assert(!memcmp(x[0] + ROWS * D, x[1] + ROWS * D, sizeof x[0] / 2));
    for (int r = ROWS; r < 2 * ROWS; r++)
        ck_assert(tok[0][r].doc == tok[1][r].doc && tok[0][r].pos == tok[1][r].pos &&
                  tok[0][r].id == tok[1][r].id);
    close_world(&live);
    close_world(&disk);
    sae_free(spec);
    sae_free(shards);
    sae_free(dir);
}
END_TEST

Suite *suite_sources(void)
{
    Suite *s = suite_create("sources");
    TCase *tc = tcase_create("sources");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, batch_changes_nothing);
    tcase_add_test(tc, capture);
    suite_add_tcase(s, tc);
    return s;
}
