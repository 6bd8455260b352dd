/* suite/models/tokenizer_json.c - tokenizer.json, and GPT-2's encoder.json with vocab.bpe.
 *
 * Of tokenizer.json everything that changes ids is either understood or refused by name; padding
 * and truncation do not change how a text is cut and are not read.
 */
#include "models/tokenizer_json.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

int sae_json_inert(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0);
}

const char *sae_json_type(const json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    return type ? type : "";
}

int sae_json_id(const json_t *v, const char *where, const char *what, int32_t *id, sae_err *err)
{
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n > SAE_TOKEN_MAX_ID)
        SAE_FAIL(err, SAE_EFORMAT, "%s: id of '%.64s': expected an integer from 0 to %d", where,
                 what, SAE_TOKEN_MAX_ID);
    *id = (int32_t)n;
    return SAE_OK;
}

void sae_json_put_token(sae_token_reader *r, int32_t id, const char *text, size_t len)
{
    memcpy(r->text, text, len);
    r->t->token[id] = (sae_piece){r->text, len};
    r->text += len;
}

/* ---- added tokens ---------------------------------------------------------------------------- */

/* Room for the vocabulary and the added tokens. */
static int open_tokens(sae_token_reader *r, json_t *vocab, json_t *added, size_t file_bytes)
{
    json_t *v;
    size_t i;
    int32_t id = -1, last = -1;
    SAE_TRY(sae_json_last_id(r, vocab, &last));
    json_array_foreach(added, i, v)
    {
        const char *content = json_string_value(json_object_get(v, "content"));
        if (!content || !*content)
            SAE_FAIL(r->err, SAE_EFORMAT, "added_tokens[%zu].content: expected a text", i);
        SAE_TRY(sae_json_id(json_object_get(v, "id"), "added_tokens", content, &id, r->err));
        last = id > last ? id : last;
    }
    if (last < 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "vocab: expected at least one token");
    /* the text of a token is never longer than its JSON */
    SAE_TRY(sae_tokens_open(r->t, last + 1, file_bytes, r->err));
    r->text = r->t->token_text;
    return SAE_OK;
}

static int load_added_token(sae_token_reader *r, const json_t *v, size_t index)
{
    sae_tokenizer *t = r->t;
    const char *content = json_string_value(json_object_get(v, "content"));
    int32_t id = (int32_t)json_integer_value(json_object_get(v, "id"));
    size_t len = strlen(content);
    int32_t known = sae_strings_find(&t->strings, t->token, content, len);
    if (known >= 0 && known != id)
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "added_tokens[%zu].id: '%.64s' is %d here, but %d in the "
                 "vocabulary",
                 index, content, (int)id, (int)known);
    if (known < 0 && t->token[id].text)
        SAE_FAIL(r->err, SAE_EFORMAT, "added_tokens[%zu].id: %d is used twice", index, (int)id);
    if (known < 0)
        sae_json_put_token(r, id, content, len);
    r->p->added[index] = (sae_added){
        .id = id,
        .normalized = json_is_true(json_object_get(v, "normalized")),
        .single_word = json_is_true(json_object_get(v, "single_word")),
        .lstrip = json_is_true(json_object_get(v, "lstrip")),
        .rstrip = json_is_true(json_object_get(v, "rstrip")),
    };
    return SAE_OK;
}

static int load_added(sae_token_reader *r, const json_t *added)
{
    json_t *v;
    size_t i;
    int64_t n = (int64_t)json_array_size(added);
    SAE_TRY(sae_new(&r->p->added, n, sizeof *r->p->added, "tokenizer.added", r->err));
    r->p->added_count = n;
    json_array_foreach(added, i, v) SAE_TRY(load_added_token(r, v, i));
    return SAE_OK;
}

/* Behind the normalizer, through which what is searched for may have to go. */
static int index_added(sae_token_reader *r)
{
    for (int which = 0; which < 2; which++)
        SAE_TRY(sae_trie_open(&r->p->cuts[which], 8 * r->p->added_count, r->err));
    for (int64_t i = 0; i < r->p->added_count; i++)
        SAE_TRY(sae_pipeline_cut(r->p, i, &r->t->token[r->p->added[i].id], &r->scratch));
    return SAE_OK;
}

static int make_pieces(sae_token_reader *r)
{
    char *added;
    SAE_TRY(sae_new(&added, r->t->vocab, 1, "tokenizer.added", r->err));
    for (int64_t i = 0; i < r->p->added_count; i++)
        added[r->p->added[i].id] = 1;
    int rc = sae_json_pieces(r, added);
    sae_free(added);
    return rc;
}

/* ---- BOS and EOS ----------------------------------------------------------------------------- */

static int end_by_name(sae_token_reader *r, const char *where, const char *name, int32_t *id)
{
    *id = sae_token_id(r->t, name);
    if (*id < 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s: '%.64s' is not in the vocabulary", where, name);
    return SAE_OK;
}

/* {"SpecialToken": {"id": name}}; the ids that the name stands for are listed beside it. */
static int template_token(sae_token_reader *r, const json_t *o, const json_t *item, int32_t *id)
{
    static const char where[] = "post_processor.single";
    const char *name = json_string_value(json_object_get(item, "id"));
    if (!name)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s: expected a token with an id", where);
    const json_t *entry = json_object_get(json_object_get(o, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    if (!ids)
        return end_by_name(r, where, name, id);
    SAE_TRY(sae_json_id(json_array_get(ids, 0), where, name, id, r->err));
    if (json_array_size(ids) != 1 || *id >= r->t->vocab || !r->t->token[*id].text)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s: '%.64s' is not one token of the vocabulary", where,
                 name);
    return SAE_OK;
}

/* TemplateProcessing: at most one token in front of the text, at most one behind. */
static int load_template(sae_token_reader *r, const json_t *o)
{
    const json_t *single = json_object_get(o, "single"), *item;
    size_t i;
    int texts = 0, before = 0, behind = 0;
    json_array_foreach(single, i, item)
    {
        const json_t *token = json_object_get(item, "SpecialToken");
        texts += token == NULL && json_object_get(item, "Sequence") != NULL;
        before += token != NULL && texts == 0;
        behind += token != NULL && texts > 0;
        if (token)
            SAE_TRY(template_token(r, o, token, texts == 0 ? &r->t->bos : &r->t->eos));
    }
    if (texts != 1 || before > 1 || behind > 1 || (size_t)(1 + before + behind) != i)
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "post_processor.single: expected the text, at most one "
                 "special token in front of it and one behind");
    return SAE_OK;
}

/* RobertaProcessing, BertProcessing: "cls" in front, "sep" behind, each [text, id]. */
static int load_pair(sae_token_reader *r, const json_t *o)
{
    const char *cls = json_string_value(json_array_get(json_object_get(o, "cls"), 0));
    const char *sep = json_string_value(json_array_get(json_object_get(o, "sep"), 0));
    SAE_TRY(end_by_name(r, "post_processor.cls", cls ? cls : "", &r->t->bos));
    return end_by_name(r, "post_processor.sep", sep ? sep : "", &r->t->eos);
}

static int load_post_processor(sae_token_reader *r, const json_t *o)
{
    const json_t *items = json_object_get(o, "processors");
    size_t count = items ? json_array_size(items) : !sae_json_inert(o);
    for (size_t i = 0; i < count; i++) {
        const json_t *step = items ? json_array_get(items, i) : o;
        const char *type = sae_json_type(step);
        if (strcmp(type, "TemplateProcessing") == 0)
            SAE_TRY(load_template(r, step));
        else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
            SAE_TRY(load_pair(r, step));
        else if (strcmp(type, "ByteLevel") != 0)
            SAE_FAIL(r->err, SAE_EFORMAT, "post_processor.type: '%.64s' is not supported", type);
    }
    return SAE_OK;
}

/* bos_token and eos_token: a name, or an object with the name as content. *said: even if null. */
static int config_end(sae_token_reader *r, const json_t *config, const char *key, int32_t *id,
                      int *said)
{
    char where[64];
    const json_t *v = json_object_get(config, key);
    const char *name = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    *said = v != NULL;
    if (!v || json_is_null(v) || *id >= 0)
        return SAE_OK;
    snprintf(where, sizeof where, "tokenizer_config.json: %s", key);
    if (!name)
        SAE_FAIL(r->err, SAE_EFORMAT, "%s: expected the text of a token", where);
    return end_by_name(r, where, name, id);
}

static int32_t first_of(const sae_tokenizer *t, const char *const *names)
{
    int32_t id = -1;
    for (; *names && id < 0; names++)
        id = sae_token_id(t, *names);
    return id;
}

/* Where the post-processor has not said: the configuration, else the usual names. */
static int find_ends(sae_token_reader *r, const sae_token_file *f)
{
    static const char *const bos[] = {"<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>", NULL};
    static const char *const eos[] = {"<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>", NULL};
    json_error_t e;
    int rc, said_bos = 0, said_eos = 0;
    json_t *config = f->config ? json_loadb(f->config, f->config_bytes, 0, &e) : NULL;
    if (f->config && !config)
        SAE_FAIL(r->err, SAE_EFORMAT, "tokenizer_config.json: line %d column %d: %s", e.line,
                 e.column, e.text);
    SAE_GOTO(config_end(r, config, "bos_token", &r->t->bos, &said_bos));
    SAE_GOTO(config_end(r, config, "eos_token", &r->t->eos, &said_eos));
    if (r->t->bos < 0 && !said_bos)
        r->t->bos = first_of(r->t, bos);
    if (r->t->eos < 0 && !said_eos)
        r->t->eos = first_of(r->t, eos);
fail:
    json_decref(config);
    return rc;
}

/* ---- the two files --------------------------------------------------------------------------- */

static int load_tokenizer(sae_token_reader *r, const json_t *root, const sae_token_file *f)
{
    const json_t *model = json_object_get(root, "model");
    json_t *vocab = json_object_get(model, "vocab"), *added = json_object_get(root, "added_tokens");
    SAE_TRY(open_tokens(r, vocab, added, f->bytes));
    SAE_TRY(sae_json_vocab(r, vocab));
    SAE_TRY(sae_json_model(r, model));
    SAE_TRY(load_added(r, added));
    SAE_TRY(sae_json_normalizer(r, json_object_get(root, "normalizer")));
    SAE_TRY(sae_json_pre_tokenizer(r, json_object_get(root, "pre_tokenizer")));
    SAE_TRY(sae_json_split_words(r));
    SAE_TRY(load_post_processor(r, json_object_get(root, "post_processor")));
    return sae_json_decoder(r, json_object_get(root, "decoder"));
}

/* encoder.json; <|endoftext|>, where it exists, is cut out of the text as in tokenizer.json. */
static int load_encoder(sae_token_reader *r, json_t *vocab, const sae_token_file *f)
{
    static const char end[] = "<|endoftext|>";
    int rc;
    if (!f->merges)
        SAE_FAIL(r->err, SAE_EFORMAT, "a table of tokens needs vocab.bpe or merges.txt beside it");
    json_t *id = json_object_get(vocab, end), *decoder = json_pack("{s:s}", "type", "ByteLevel");
    json_t *added = id ? json_pack("[{s:s,s:O}]", "content", end, "id", id) : json_array();
    if (!added || !decoder)
        SAE_GOTO(SAE_SET(r->err, SAE_ENOMEM, "out of memory"));
    SAE_GOTO(open_tokens(r, vocab, added, f->bytes));
    SAE_GOTO(sae_json_vocab(r, vocab));
    SAE_GOTO(load_added(r, added));
    SAE_GOTO(sae_json_merge_text(r, f->merges, f->merges_bytes));
    sae_bpe_index(r->t, r->p);
    r->p->model = sae_bpe_word;
    r->t->uses_merges = 1;
    SAE_GOTO(sae_json_byte_level(r, 0, 1));
    rc = sae_json_decoder(r, decoder);
fail:
    json_decref(added);
    json_decref(decoder);
    return rc;
}

int sae_tokenizer_json(sae_tokenizer *t, const sae_token_file *f, sae_err *err)
{
    json_error_t e;
    int rc;
    sae_token_reader r = {.t = t, .err = err};
    int bom = f->bytes >= 3 && memcmp(f->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    json_t *root = json_loadb(f->data + bom, f->bytes - (size_t)bom, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        SAE_FAIL(err, SAE_EFORMAT, "line %d column %d: %s", e.line, e.column, e.text);
    SAE_GOTO(sae_scratch_open(&r.scratch, err));
    SAE_GOTO(sae_pipeline_open(t, &r.p, err));
    SAE_GOTO(json_is_object(json_object_get(root, "model")) ? load_tokenizer(&r, root, f)
                                                            : load_encoder(&r, root, f));
    SAE_GOTO(index_added(&r));
    SAE_GOTO(find_ends(&r, f));
    rc = make_pieces(&r);
fail:
    sae_rewrites_close(&r.decoder);
    sae_scratch_close(&r.scratch);
    json_decref(root);
    return rc;
}
