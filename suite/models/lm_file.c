/* suite/models/lm_file.c - open a language model from disk. */
#include "models/lm_file.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "models/lm_tape.h"

#include <stdio.h>
#include <string.h>

/* ---- model in memory ------------------------------------------------------------------------- */

static int tokenize(void *self, const char *text, size_t bytes, int32_t *ids, int64_t cap,
                    int64_t *count, sae_err *err)
{
    const sae_lm_model *m = self;
    if (!m->tok)
        SAE_FAIL(err, SAE_ENEEDS, "the model has no tokenizer: put tokenizer.json or tokenizer.bin "
                                  "beside the weights, or name one");
    return sae_tokenizer_encode(m->tok, text, bytes, 1, ids, cap, count, err);
}

static const char *piece(void *self, int32_t id, size_t *len)
{
    const sae_lm_model *m = self;
    *len = 0;
    return m->tok ? sae_tokenizer_piece(m->tok, id, len) : "";
}

int sae_lm_model_open(sae_lm_model **out, const sae_lm_config *c, const sae_lm_source *src,
                      sae_lm_place at, sae_err *err)
{
    int rc = SAE_OK;
    *out = NULL;
    SAE_GOTO(sae_lm_config_check(c, err));
    if (at.be && at.ops->widest_head && c->head > at.ops->widest_head)
        SAE_GOTO(SAE_SET(err, SAE_EINVAL, "attention on %s takes heads of at most %lld components, "
                         "found %lld: --device cpu does it", at.be->name,
                         (long long)at.ops->widest_head, (long long)c->head));
    SAE_GOTO(sae_new(out, 1, sizeof **out, "lm", err));
    sae_lm_model *m = *out;
    m->cfg = *c;
    m->at = at;
    m->tape_bytes = at.be ? SAE_LM_DEVICE_TAPE_BYTES : SAE_LM_TAPE_BYTES;
    SAE_GOTO(sae_lm_weights_open(&m->w, &m->at, c, src, err));
    m->api = (sae_lm){
        .abi = SAE_LM_ABI,
        .size = sizeof(sae_lm),
        .self = m,
        .arch = c->arch,
        .d = c->d,
        .layers = c->layers,
        .vocab = c->vocab,
        .ctx = c->ctx,
        .bos = c->bos,
        .eos = c->eos,
        .params = m->w.params,
        .hook = sae_lm_hook,
        .begin = sae_lm_begin,
        .advance = sae_lm_advance,
        .acts = sae_lm_acts,
        .finish = sae_lm_finish,
        .end = sae_lm_end,
        .tokenize = tokenize,
        .piece = piece,
    };
    return SAE_OK;
fail:
    sae_lm_model_close(out);
    return rc;
}

void sae_lm_model_close(sae_lm_model **out)
{
    sae_lm_model *m = *out;
    *out = NULL;
    if (!m)
        return;
    sae_lm_pass_free(m->spare);
    sae_lm_work_close(m);
    sae_lm_tape_close(m);
    sae_lm_weights_close(&m->w, &m->at);
    sae_tokenizer_close(&m->tok);
    sae_free(m);
}

/* ---- files ----------------------------------------------------------------------------------- */

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* The one name in a directory that begins and ends like this, as a path; *path stays NULL when
 * there is none or more than one. */
static int only_file(const char *dir, const char *begin, const char *end, char **path, sae_err *err)
{
    char **names = NULL;
    int64_t found = 0;
    const char *name = NULL;
    SAE_TRY(sae_dir_list(dir, &names, err));
    for (int64_t i = 0; names[i]; i++)
        if (strncmp(names[i], begin, strlen(begin)) == 0 && ends_with(names[i], end)) {
            name = names[i];
            found++;
        }
    *path = found == 1 ? sae_path_join(dir, name) : NULL;
    sae_names_free(&names);
    if (found == 1 && !*path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    return SAE_OK;
}

/* What a path leads to. */
typedef struct place {
    char *dir;     /* owned; where a tokenizer may lie */
    char *weights; /* owned; one file that describes itself, NULL: a Hugging Face directory */
} place;

static void forget(place *p)
{
    sae_free(p->dir);
    sae_free(p->weights);
}

static int locate(const char *path, place *p, sae_err *err)
{
    char *config = sae_path_join(path, "config.json"), *inside = sae_path_join(path, ".");
    int ok = config && inside, rc = SAE_OK;
    int has_config = ok && sae_file_exists(config), is_dir = ok && sae_file_exists(inside);
    sae_free(config);
    sae_free(inside);
    if (is_dir) {
        p->dir = sae_strdup(path);
        if (!has_config)
            rc = only_file(path, "", ".safetensors", &p->weights, err);
        if (rc >= 0 && !has_config && !p->weights)
            SAE_FAIL(err, SAE_EIO, "expected config.json with its weights, or one .safetensors "
                                   "file, in this directory");
    } else {
        const char *slash = strrchr(path, '/');
        p->dir = slash ? sae_strfmt("%.*s", (int)(slash - path + 1), path) : sae_strdup(".");
        p->weights = sae_strdup(path);
        ok = ok && p->weights;
    }
    SAE_TRY(rc);
    if (!ok || !p->dir)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    return SAE_OK;
}

static int open_bin(sae_lm_model **m, const char *path, sae_lm_place on,
                    sae_err *err)
{
    sae_map map;
    sae_lm_config c;
    SAE_TRY(sae_map_open(&map, path, err));
    sae_lm_bin bin = {map.p, map.bytes};
    sae_lm_source src = {&bin, sae_lm_read_bin};
    int rc = sae_lm_config_bin(&c, map.p, map.bytes, err);
    if (rc >= 0)
        rc = sae_lm_model_open(m, &c, &src, on, err);
    sae_map_close(&map);
    if (rc >= 0)
        rc = sae_hash_file(path, (*m)->api.weights_hash, err);
    return rc;
}

static int read_config(sae_lm_config *c, const char *path, sae_err *err)
{
    sae_map map;
    SAE_TRY(sae_map_open(&map, path, err));
    int rc = sae_lm_config_json(c, (const char *)map.p, map.bytes, err);
    sae_map_close(&map);
    return rc < 0 ? sae_fail_prefix(err, rc, "config.json") : rc;
}

/* A model whose tensors lie in a store. */
static int open_named(sae_lm_model **m, const sae_lm_config *c, const sae_lm_named *named,
                      sae_lm_place on, sae_err *err)
{
    sae_lm_source src = {(void *)(uintptr_t)named, sae_lm_read_named};
    return sae_lm_model_open(m, c, &src, on, err);
}

static int open_directory(sae_lm_model **m, const char *dir, sae_lm_place on, sae_err *err)
{
    sae_lm_config c;
    sae_lm_store store = {0};
    char *path = sae_path_join(dir, "config.json");
    int rc = path ? read_config(&c, path, err) : SAE_SET(err, SAE_ENOMEM, "out of memory");
    sae_free(path);
    SAE_TRY(rc);
    SAE_TRY(sae_lm_store_open(&store, dir, err));
    rc = open_named(m, &c, &(sae_lm_named){&store, c.files->names, c.files->prefix}, on, err);
    if (rc >= 0)
        rc = sae_lm_store_hash(&store, (*m)->api.weights_hash, err);
    sae_lm_store_close(&store);
    return rc;
}

static int open_bare(sae_lm_model **m, const char *path, sae_lm_place on, sae_err *err)
{
    sae_lm_config c;
    sae_lm_store store = {0};
    SAE_TRY(sae_lm_store_open_file(&store, path, err));
    int rc = sae_lm_config_meta(&c, store.st[0], err);
    if (rc >= 0)
        rc = open_named(m, &c, &(sae_lm_named){&store, sae_lm_names_meta, NULL}, on, err);
    if (rc >= 0)
        rc = sae_lm_store_hash(&store, (*m)->api.weights_hash, err);
    sae_lm_store_close(&store);
    return rc;
}

/* ---- tokenizers ------------------------------------------------------------------------------ */

/* m->tok is there: what the model takes from it. */
static void take_tokenizer(sae_lm_model *m)
{
    snprintf(m->api.tokenizer_hash, sizeof m->api.tokenizer_hash, "%s", sae_tokenizer_hash(m->tok));
    if (m->api.bos < 0)
        m->api.bos = sae_tokenizer_bos(m->tok);
    if (m->api.eos < 0)
        m->api.eos = sae_tokenizer_eos(m->tok);
}

/* The tokenizer named by the caller, or the one in `dir` (NULL: nowhere) if there is one. */
static int open_tokenizer(sae_lm_model *m, const char *name, const char *dir, sae_err *err)
{
    int rc = SAE_OK;
    char *path = NULL;
    static const char *const beside[][2] = {
        {"tokenizer.json", ""}, {"tokenizer.bin", ""}, {"tok", ".bin"}};
    if (*name)
        path = sae_strdup(name);
    for (size_t i = 0; dir && !*name && !path && i < sizeof beside / sizeof beside[0]; i++)
        SAE_GOTO(only_file(dir, beside[i][0], beside[i][1], &path, err));
    if (path) {
        SAE_GOTO(sae_tokenizer_open(&m->tok, path, m->cfg.vocab, err));
        take_tokenizer(m);
    }
fail:
    sae_free(path);
    return rc;
}

/* ---- embedded models ------------------------------------------------------------------------- */

static const sae_asset *embedded(const char *name, const char *file, sae_err *err)
{
    char path[160];
    snprintf(path, sizeof path, "datasets/%s/model/%s", name, file);
    const sae_asset *a = sae_asset_find(path);
    if (!a)
        (void)SAE_SET(err, SAE_EINVAL, "no such model inside the program (no %s)", path);
    return a;
}

static int open_embedded(sae_lm_model **m, const char *name, sae_lm_place on, sae_err *err)
{
    sae_lm_config c;
    sae_lm_store store = {0};
    const sae_asset *config = embedded(name, "config.json", err);
    const sae_asset *weights = embedded(name, "model.safetensors", err);
    const sae_asset *tok = embedded(name, "tokenizer.json", err);
    if (!config || !weights || !tok)
        return SAE_EINVAL;
    size_t bytes = (size_t)(weights->end - weights->data);
    SAE_TRY(sae_lm_config_json(&c, (const char *)config->data,
                               (size_t)(config->end - config->data), err));
    SAE_TRY(sae_lm_store_open_bytes(&store, weights->name, weights->data, bytes, err));
    int rc = open_named(m, &c, &(sae_lm_named){&store, c.files->names, NULL}, on, err);
    sae_lm_store_close(&store);
    SAE_TRY(rc);
    sae_hash_bytes(weights->data, bytes, (*m)->api.weights_hash);
    sae_token_file f = {.name = tok->name, .data = (const char *)tok->data,
                        .bytes = (size_t)(tok->end - tok->data)};
    SAE_TRY(sae_tokenizer_parse(&(*m)->tok, &f, c.vocab, err));
    take_tokenizer(*m);
    return SAE_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

int sae_lm_open(sae_lm **lm, const char *path, const char *tokenizer, sae_lm_place on,
                sae_err *err)
{
    int rc = SAE_OK;
    sae_lm_model *m = NULL;
    place at = {0};
    *lm = NULL;
    if (path[0] == '@') {
        if (*tokenizer)
            SAE_GOTO(SAE_SET(err, SAE_EINVAL, "it has its tokenizer inside the program: expected "
                             "no other, found %s", tokenizer));
        SAE_GOTO(open_embedded(&m, path + 1, on, err));
    } else {
        SAE_GOTO(locate(path, &at, err));
        if (!at.weights)
            SAE_GOTO(open_directory(&m, at.dir, on, err));
        else if (ends_with(at.weights, ".safetensors"))
            SAE_GOTO(open_bare(&m, at.weights, on, err));
        else
            SAE_GOTO(open_bin(&m, at.weights, on, err));
        SAE_GOTO(open_tokenizer(m, tokenizer, at.dir, err));
    }
    forget(&at);
    *lm = &m->api;
    return SAE_OK;
fail:
    forget(&at);
    sae_lm_model_close(&m);
    return sae_fail_prefix(err, rc, "model %s", path);
}

int sae_lm_open_new(sae_lm **lm, const char *config, const char *tokenizer,
                    const sae_lm_source *src, sae_lm_place on, sae_err *err)
{
    int rc;
    sae_lm_config c;
    sae_lm_model *m = NULL;
    *lm = NULL;
    SAE_GOTO(read_config(&c, config, err));
    SAE_GOTO(sae_lm_model_open(&m, &c, src, on, err));
    SAE_GOTO(open_tokenizer(m, tokenizer, NULL, err));
    *lm = &m->api;
    return SAE_OK;
fail:
    sae_lm_model_close(&m);
    return sae_fail_prefix(err, rc, "%s", config);
}

void sae_lm_close(sae_lm **lm)
{
    sae_lm_model *m = *lm ? (*lm)->self : NULL;
    *lm = NULL;
    sae_lm_model_close(&m);
}

const sae_tokenizer *sae_lm_tokenizer(const sae_lm *lm)
{
    return ((const sae_lm_model *)lm->self)->tok;
}
