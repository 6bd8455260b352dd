/* tests/models/lm_real.c - two trained GPTs whose files no reader of the program knows: a GPT with
 * ReLU, biased head and scores scaled by the model's width, and a GPT-2 shaped network of which
 * every intermediate tensor is recorded. */
#include "lm_util.h"

#include "core/file.h"
#include "core/safetensors.h"
#include "models/lm_model.h"

#include <math.h>
#include <string.h>

/* ---- weights --------------------------------------------------------------------------------- */

/* Where a part is: '*' stands for the layer, '#' for a head whose rows are a tensor of their own;
 * third 1, 2 or 3: the rows of q, k or v in one tensor. */
typedef struct place {
    const char *name;
    int third;
} place;

typedef struct file {
    sae_st *st; /* either of the two */
    json_t *json;
    const place *places; /* [SAE_LM_PARTS] */
} file;

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);
    ck_assert(c && at);
    return (int)(at - digits);
}

static float *base64_floats(const char *text, int64_t count)
{
    size_t bytes = (size_t)count * sizeof(float), n = 0;
    unsigned char *out = calloc(bytes + 3, 1);
    for (; *text && *text != '='; text += 4) {
        uint32_t v = 0;
        int given = 4;
        for (int i = 0; i < 4; i++) {
            if (text[i] == '=' && given == 4)
                given = i;
            v = v << 6 | (uint32_t)(i < given ? base64_digit(text[i]) : 0);
        }
        for (int i = 0; i + 1 < given; i++) {
            ck_assert_uint_lt(n, bytes);
            out[n++] = (unsigned char)(v >> (16 - 8 * i));
        }
        if (given < 4)
            break;
    }
    ck_assert_uint_eq(n, bytes);
    float *floats = calloc((size_t)count, sizeof *floats);
    memcpy(floats, out, bytes);
    free(out);
    return floats;
}

/* A tensor of the file, which has to have `count` elements; free() it. */
static float *tensor(const file *f, const char *name, int64_t count)
{
    if (f->json) {
        const json_t *o = json_object_get(f->json, name);
        ck_assert_msg(o != NULL, "%s is not in the file", name);
        return base64_floats(json_string_value(json_object_get(o, "data")), count);
    }
    const sae_st_tensor *t = sae_st_find(f->st, name);
    ck_assert_msg(t != NULL, "%s is not in the file", name);
    ck_assert_int_eq(t->count, count);
    float *v = calloc((size_t)count, sizeof *v);
    ck_assert_int_eq(sae_st_floats(f->st, t, 0, count, 1, v, NULL), SAE_OK);
    return v;
}

static void tensor_name(char *out, const char *pattern, int64_t layer, int64_t head)
{
    for (; *pattern; pattern++)
        if (*pattern == '*' || *pattern == '#')
            out += sprintf(out, "%d", (int)(*pattern == '*' ? layer : head));
        else
            *out++ = *pattern;
    *out = 0;
}

static int read_part(void *self, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                     sae_real *out, sae_err *err)
{
    (void)err;
    const file *f = self;
    const place *from = &f->places[p];
    ck_assert_msg(from->name != NULL, "part %d", (int)p);
    if (!out)
        return SAE_OK;
    int64_t rows, cols;
    sae_lm_part_shape(c, p, &rows, &cols);
    int64_t pieces = strchr(from->name, '#') ? c->heads : 1, count = rows * cols / pieces;
    for (int64_t h = 0; h < pieces; h++) {
        char name[96];
        tensor_name(name, from->name, layer, h);
        float *v = tensor(f, name, from->third ? 3 * count : count);
        const float *first = v + (from->third ? from->third - 1 : 0) * count;
        for (int64_t i = 0; i < count; i++)
            out[h * count + i] = first[i];
        free(v);
    }
    return SAE_OK;
}

typedef struct real {
    lm_fixture f;
    file w;
    sae_lm_model *m;
    sae_lm *lm;
    json_t *golden;
} real;

static void open_real(real *r, const sae_lm_config *c, const char *golden)
{
    lm_engine(&r->f, 0);
    sae_lm_source src = {&r->w, read_part};
    ck_assert_ok(sae_lm_model_open(&r->m, c, &src, sae_lm_place_of(&r->f.e), &r->f.err), r->f.err);
    r->lm = &r->m->api;
    r->golden = json_load_file(golden, 0, NULL);
    ck_assert_ptr_nonnull(r->golden);
}

static void close_real(real *r)
{
    json_decref(r->golden);
    json_decref(r->w.json);
    sae_st_close(&r->w.st);
    sae_lm_model_close(&r->m);
    lm_engine_close(&r->f);
}

static void near(double got, double want, double bound, const char *what, int64_t i)
{
    ck_assert_msg(fabs(got - want) <= bound, "%s %d: %.9g, expected %.9g within %.2g", what, (int)i,
                  got, want, bound);
}

static sae_lm_pass *halt(real *r, const char *hook, const sae_contexts *c)
{
    sae_lm_pass *pass = NULL;
    ck_assert_ok(r->lm->begin(r->lm->self, hook, c, &pass, &r->f.err), r->f.err);
    return pass;
}

/* ---- chargpt-tinystories --------------------------------------------------------------------- */

enum { CHAR_CTX = 32, CHAR_VOCAB = 169 };
static const sae_lm_config chargpt = {
    .arch = "chargpt", .d = 64, .hidden = 256, .layers = 4, .vocab = CHAR_VOCAB, .ctx = CHAR_CTX,
    .heads = 4, .kv_heads = 4, .head = 16, .norm_in = SAE_LM_NORM_LAYER,
    .norm_final = SAE_LM_NORM_LAYER, .eps = 1e-5, .act = SAE_LM_RELU, .bias_o = 1, .bias_mlp = 1,
    .bias_head = 1, .learned_positions = 1, .attn_scale = 0.125, .bos = -1, .eos = -1,
};
#define BLOCK "blocks.*."
static const place chargpt_places[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = {"token_embedding_table.weight", 0},
    [SAE_LM_POSITION] = {"position_embedding_table.weight", 0},
    [SAE_LM_NORM_FINAL] = {"ln_f.weight", 0},
    [SAE_LM_NORM_FINAL_B] = {"ln_f.bias", 0},
    [SAE_LM_HEAD] = {"lm_head.weight", 0},
    [SAE_LM_HEAD_B] = {"lm_head.bias", 0},
    [SAE_LM_NORM_ATTN] = {BLOCK "ln1.weight", 0},
    [SAE_LM_NORM_ATTN_B] = {BLOCK "ln1.bias", 0},
    [SAE_LM_Q] = {BLOCK "sa.heads.#.query.weight", 0},
    [SAE_LM_K] = {BLOCK "sa.heads.#.key.weight", 0},
    [SAE_LM_V] = {BLOCK "sa.heads.#.value.weight", 0},
    [SAE_LM_O] = {BLOCK "sa.proj.weight", 0},
    [SAE_LM_O_B] = {BLOCK "sa.proj.bias", 0},
    [SAE_LM_NORM_MLP] = {BLOCK "ln2.weight", 0},
    [SAE_LM_NORM_MLP_B] = {BLOCK "ln2.bias", 0},
    [SAE_LM_UP] = {BLOCK "ffwd.net.0.weight", 0},
    [SAE_LM_UP_B] = {BLOCK "ffwd.net.0.bias", 0},
    [SAE_LM_DOWN] = {BLOCK "ffwd.net.2.weight", 0},
    [SAE_LM_DOWN_B] = {BLOCK "ffwd.net.2.bias", 0},
};

static int open_chargpt(real *r)
{
    *r = (real){.w.places = chargpt_places};
    const char *weights = test_data("chargpt-tinystories/chargpt.f32.safetensors");
    const char *golden = weights ? test_data("chargpt-tinystories/golden.json") : NULL;
    if (!golden)
        return 0;
    ck_assert_ok(sae_st_open(&r->w.st, weights, &r->f.err), r->f.err);
    open_real(r, &chargpt, golden);
    return 1;
}

/* The file prints six decimals, of norms five. Float32 adds 2^-24 for each of at most 400 roundings
 * on the way, relative to the numbers that losses and components are differences of. */
static double bound(double decimals, double size)
{
    return 0.51 * decimals + 400 * 0x1p-24 * size;
}

START_TEST(chargpt_prompt)
{
    real r;
    if (!open_chargpt(&r))
        return;
    int64_t n, start[2] = {0, CHAR_CTX};
    int32_t *ids = lm_ids(json_object_get(r.golden, "token_ids"), &n);
    ck_assert_int_eq(n, CHAR_CTX + 1);
    ck_assert_uint_eq(r.m->w.params, 223145);
    sae_contexts c = {1, start, ids};
    sae_real *z = calloc(CHAR_CTX * CHAR_VOCAB, sizeof *z);
    double *ce = calloc(CHAR_CTX, sizeof *ce);
    for (int64_t l = 0; l < 4; l++) {
        char hook[32];
        snprintf(hook, sizeof hook, "resid_post.%d", (int)l);
        sae_lm_pass *pass = halt(&r, hook, &c);
        const sae_real *x = r.lm->acts(pass);
        const json_t *layer = json_array_get(json_object_get(r.golden, "layers"), (size_t)l);
        const json_t *norms = json_object_get(layer, "resid_post_l2_norm_by_position");
        const json_t *first = json_object_get(layer, "resid_post_last_position_first8");
        for (int64_t i = 0; i < CHAR_CTX; i++) {
            double s = 0;
            for (int64_t j = 0; j < 64; j++)
                s += (double)x[i * 64 + j] * (double)x[i * 64 + j];
            near(sqrt(s), lm_num(norms, i), bound(1e-5, sqrt(s)), "norm", i);
        }
        for (int64_t j = 0; j < 8; j++)
            near((double)x[31 * 64 + j], lm_num(first, j), bound(1e-6, 4), "component", j);
        sae_lm_out out = {.ce = ce, .logits = z};
        ck_assert_ok(r.lm->finish(pass, NULL, &out, &r.f.err), r.f.err);
        r.lm->end(&pass);
    }
    const json_t *top = json_object_get(r.golden, "last_position_top5");
    const sae_real *last = z + 31 * CHAR_VOCAB;
    double largest = lm_num(json_array_get(top, 0), 1);
    for (int64_t i = 0; i < 5; i++) {
        const json_t *t = json_array_get(top, (size_t)i);
        near((double)last[(int64_t)lm_num(t, 0)], lm_num(t, 1), bound(1e-6, largest), "logit", i);
    }
    const json_t *losses = json_object_get(r.golden, "next_token_ce_nats");
    for (int64_t i = 0; i < CHAR_CTX - 1; i++)
        near(ce[i], lm_num(losses, i), bound(1e-6, largest), "loss", i);
    double lse = json_real_value(json_object_get(r.golden, "last_position_logsumexp"));
    near(lse - (double)last[ids[CHAR_CTX]], lm_num(losses, 31), bound(2e-6, largest), "loss", 31);
    free(ids);
    free(z);
    free(ce);
    close_real(&r);
}
END_TEST

/* The characters of the first 400 stories as golden.json puts them together; -1: not in the table.
 */
static int32_t *story_characters(const char *text, size_t bytes, const json_t *table, int64_t *n)
{
    static const char stop[] = "\n<|endoftext|>\n";
    const char *p = text, *end = text + bytes;
    int32_t *out = calloc(2 * bytes, sizeof *out);
    *n = 0;
    for (int story = 0; story < 400; story++) {
        const char *to = p;
        while (to + sizeof stop <= end && memcmp(to, stop, sizeof stop - 1) != 0)
            to++;
        ck_assert(to + sizeof stop <= end);
        const char *next = to + sizeof stop - 1;
        for (; p < to && strchr(" \n", *p); p++)
            ;
        for (; to > p && strchr(" \n", to[-1]); to--)
            ;
        for (int i = 0; story > 0 && i < 2; i++)
            out[(*n)++] = 1;
        for (; p < to; p++) {
            char key[2] = {*p, 0};
            const json_t *id = *p & 0x80 ? NULL : json_object_get(table, key);
            if ((*p & 0xc0) != 0x80) /* one id for a character of several bytes */
                out[(*n)++] = id ? (int32_t)json_integer_value(id) : -1;
            if (*p == '\n')
                out[(*n)++] = 1;
        }
        p = next;
    }
    return out;
}

/* The sum of the losses of a batch of windows of 32 inputs; the last target lies outside the
 * context. */
static double window_losses(real *r, int64_t windows, const int32_t *tok, const int32_t *beyond,
                            double *ce, sae_real *lp)
{
    int64_t start[65];
    for (int64_t i = 0; i <= windows; i++)
        start[i] = i * CHAR_CTX;
    sae_contexts c = {windows, start, tok};
    sae_lm_pass *pass = halt(r, "resid_pre.0", &c);
    sae_lm_out out = {.ce = ce, .logprob = lp};
    ck_assert_ok(r->lm->finish(pass, NULL, &out, &r->f.err), r->f.err);
    r->lm->end(&pass);
    double sum = 0;
    for (int64_t i = 0; i < windows * CHAR_CTX; i++)
        if (i % CHAR_CTX == CHAR_CTX - 1)
            sum -= (double)lp[i * CHAR_VOCAB + beyond[i / CHAR_CTX]];
        else
            sum += ce[i];
    return sum;
}

START_TEST(chargpt_corpus)
{
    enum { BATCH = 64 };
    real r;
    const char *stories = test_data("tinystories-sample/stories_0001_1800.txt");
    const char *table_path = stories ? test_data("chargpt-tinystories/vocab_known.json") : NULL;
    if (!table_path || !open_chargpt(&r))
        return;
    json_t *table = json_load_file(table_path, 0, NULL);
    sae_map text;
    ck_assert_ok(sae_map_open(&text, stories, &r.f.err), r.f.err);
    int64_t n, windows = 0, fill = 0;
    int32_t *id = story_characters((const char *)text.p, text.bytes, table, &n);
    int32_t *tok = calloc(BATCH * CHAR_CTX, sizeof *tok), beyond[BATCH];
    double *ce = calloc(BATCH * CHAR_CTX, sizeof *ce), sum = 0;
    sae_real *lp = calloc(BATCH * CHAR_CTX * CHAR_VOCAB, sizeof *lp);
    for (int64_t i = 0; i + CHAR_CTX < n; i += CHAR_CTX) {
        int known = 1;
        for (int64_t j = 0; j <= CHAR_CTX; j++)
            known &= id[i + j] >= 0;
        if (!known)
            continue;
        memcpy(tok + fill * CHAR_CTX, id + i, CHAR_CTX * sizeof *tok);
        beyond[fill++] = id[i + CHAR_CTX];
        if (fill == BATCH) {
            sum += window_losses(&r, fill, tok, beyond, ce, lp);
            windows += fill;
            fill = 0;
        }
    }
    sum += window_losses(&r, fill, tok, beyond, ce, lp);
    windows += fill;
    const json_t *corpus = json_object_get(r.golden, "corpus");
    ck_assert_int_eq(windows, json_integer_value(json_object_get(corpus, "windows")));
    near(sum / (double)(windows * CHAR_CTX),
         json_real_value(json_object_get(corpus, "mean_ce_nats")), bound(1e-6, 1), "loss", 0);
    free(tok);
    free(id);
    free(ce);
    free(lp);
    sae_map_close(&text);
    json_decref(table);
    close_real(&r);
}
END_TEST

/* ---- nanogpt-sort ---------------------------------------------------------------------------- */

enum { SORT_CTX = 11, SORT_ROWS = 3 * SORT_CTX };
static const sae_lm_config nanogpt = {
    .arch = "nanogpt", .d = 48, .hidden = 192, .layers = 3, .vocab = 3, .ctx = SORT_CTX, .heads = 3,
    .kv_heads = 3, .head = 16, .norm_in = SAE_LM_NORM_LAYER, .norm_final = SAE_LM_NORM_LAYER,
    .eps = 1e-5, .act = SAE_LM_GELU_TANH, .bias_qkv = 1, .bias_o = 1, .bias_mlp = 1,
    .learned_positions = 1, .bos = -1, .eos = -1,
};
#define H "transformer.h.*."
static const place nanogpt_places[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = {"transformer.wte.weight", 0},
    [SAE_LM_POSITION] = {"transformer.wpe.weight", 0},
    [SAE_LM_NORM_FINAL] = {"transformer.ln_f.weight", 0},
    [SAE_LM_NORM_FINAL_B] = {"transformer.ln_f.bias", 0},
    [SAE_LM_HEAD] = {"lm_head.weight", 0},
    [SAE_LM_NORM_ATTN] = {H "ln_1.weight", 0},
    [SAE_LM_NORM_ATTN_B] = {H "ln_1.bias", 0},
    [SAE_LM_Q] = {H "attn.c_attn.weight", 1},
    [SAE_LM_K] = {H "attn.c_attn.weight", 2},
    [SAE_LM_V] = {H "attn.c_attn.weight", 3},
    [SAE_LM_Q_B] = {H "attn.c_attn.bias", 1},
    [SAE_LM_K_B] = {H "attn.c_attn.bias", 2},
    [SAE_LM_V_B] = {H "attn.c_attn.bias", 3},
    [SAE_LM_O] = {H "attn.c_proj.weight", 0},
    [SAE_LM_O_B] = {H "attn.c_proj.bias", 0},
    [SAE_LM_NORM_MLP] = {H "ln_2.weight", 0},
    [SAE_LM_NORM_MLP_B] = {H "ln_2.bias", 0},
    [SAE_LM_UP] = {H "mlp.c_fc.weight", 0},
    [SAE_LM_UP_B] = {H "mlp.c_fc.bias", 0},
    [SAE_LM_DOWN] = {H "mlp.c_proj.weight", 0},
    [SAE_LM_DOWN_B] = {H "mlp.c_proj.bias", 0},
};

static int open_nanogpt(real *r)
{
    *r = (real){.w.places = nanogpt_places};
    const char *weights = test_data("nanogpt-sort/gpt-nano-sort-model.json");
    const char *golden = weights ? test_data("nanogpt-sort/gpt-nano-sort-t0-partials.json") : NULL;
    if (!golden)
        return 0;
    r->w.json = json_load_file(weights, 0, NULL);
    ck_assert_ptr_nonnull(r->w.json);
    open_real(r, &nanogpt, golden);
    return 1;
}

/* Both sides are float32: twice the roundings, relative to the largest value. */
static void near_recorded(const file *recorded, const char *name, const sae_real *got,
                          int64_t count)
{
    float *want = tensor(recorded, name, count);
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)want[i]));
    for (int64_t i = 0; i < count; i++)
        near((double)got[i], (double)want[i], 2 * bound(0, largest), name, i);
    free(want);
}

START_TEST(nanogpt_recorded)
{
    static const struct {
        const char *hook, *recorded;
        int64_t width;
    } points[] = {
        {"resid_pre.0", "x", 48},       {"attn_z.0", "y", 48},
        {"attn_out.0", "yProj", 48},    {"resid_mid.0", "attnResid", 48},
        {"mlp_act.0", "gelu", 192},     {"mlp_out.0", "mlp", 48},
        {"resid_post.0", "block0", 48}, {"resid_post.1", "block1", 48},
        {"resid_post.2", "block2", 48},
    };
    real r;
    if (!open_nanogpt(&r))
        return;
    file recorded = {.json = r.golden};
    int32_t tok[SORT_ROWS];
    int64_t start[] = {0, SORT_CTX, 2 * SORT_CTX, SORT_ROWS};
    float *idx = tensor(&recorded, "idx", SORT_ROWS);
    for (int i = 0; i < SORT_ROWS; i++)
        tok[i] = (int32_t)idx[i];
    sae_contexts c = {3, start, tok};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        sae_real z[SORT_ROWS * 3], lp[SORT_ROWS * 3];
        sae_lm_out out = {.logits = z, .logprob = lp};
        sae_lm_pass *pass = halt(&r, points[i].hook, &c);
        near_recorded(&recorded, points[i].recorded, r.lm->acts(pass), SORT_ROWS * points[i].width);
        ck_assert_ok(r.lm->finish(pass, NULL, &out, &r.f.err), r.f.err);
        r.lm->end(&pass);
        near_recorded(&recorded, "lm_head", z, SORT_ROWS * 3);
        for (int k = 0; k < SORT_ROWS * 3; k++)
            lp[k] = (sae_real)exp((double)lp[k]);
        near_recorded(&recorded, "probs", lp, SORT_ROWS * 3);
    }
    free(idx);
    close_real(&r);
}
END_TEST

/* All 729 inputs: six symbols, then the same sorted, the last of which is not fed back. */
START_TEST(nanogpt_sorts)
{
    real r;
    if (!open_nanogpt(&r))
        return;
    double sum = 0;
    for (int input = 0; input < 729; input++) {
        int32_t tok[SORT_CTX + 1];
        int64_t start[] = {0, SORT_CTX};
        sae_real lp[SORT_CTX * 3];
        int at = 6;
        for (int i = 0, rest = input; i < 6; i++, rest /= 3)
            tok[i] = rest % 3;
        for (int32_t v = 0; v < 3; v++)
            for (int i = 0; i < 6; i++)
                if (tok[i] == v)
                    tok[at++] = v;
        sae_contexts c = {1, start, tok};
        sae_lm_out out = {.logprob = lp};
        sae_lm_pass *pass = halt(&r, "resid_pre.0", &c);
        ck_assert_ok(r.lm->finish(pass, NULL, &out, &r.f.err), r.f.err);
        r.lm->end(&pass);
        for (int i = 5; i < SORT_CTX; i++) {
            const sae_real *row = lp + 3 * i;
            int32_t want = tok[i + 1];
            for (int32_t v = 0; v < 3; v++)
                ck_assert(v == want || row[v] < row[want]);
            sum -= (double)row[want];
        }
    }
    /* The published figure has six decimals; float32 log-probabilities near 0 are rounded to the
     * size of the logits, 8.4, times 2^-24. */
    near(sum / (729 * 6), 0.000114, bound(1e-6, 0) + 8.4 * 0x1p-24, "loss", 0);
    close_real(&r);
}
END_TEST

Suite *suite_lm_real(void)
{
    Suite *s = suite_create("lm_real");
    TCase *t = tcase_create("lm_real");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, chargpt_prompt);
    tcase_add_test(t, chargpt_corpus);
    tcase_add_test(t, nanogpt_recorded);
    tcase_add_test(t, nanogpt_sorts);
    suite_add_tcase(s, t);
    return s;
}
