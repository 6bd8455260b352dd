/* suite/models/tokenizer_json.c - tokenizer.json, and GPT-2's encoder.json with vocab.bpe.
 *
 * Of tokenizer.json everything that changes ids is either understood or refused by name; padding,
 * truncation and the decoder do not change how a text is cut and are not read.
 */
#include "models/tokenizer_bpe.h"

#include "core/error.h"
#include "core/memory.h"

#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

enum { BYTE_CHARS = 0x144 }; /* GPT-2 writes bytes as characters below U+0144 */

typedef struct reader {
    sae_tokenizer *t;
    sae_bpe *b;
    sae_err *err;
    char *text;                  /* where the next piece goes */
    int16_t byte_of[BYTE_CHARS]; /* character -> byte, -1: none */
} reader;

/* Printable Latin-1 stands for itself, the other bytes in order for U+0100, U+0101, ... */
static void fill_byte_table(reader *r)
{
    memset(r->byte_of, 0xff, sizeof r->byte_of);
    int16_t next = 0x100;
    for (int16_t b = 0; b < 256; b++) {
        int plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        r->byte_of[plain ? b : next++] = b;
    }
}

/* Bytes that a token string stands for, into out (len bytes of room); -1: not such a string. */
static int64_t to_bytes(const reader *r, const char *s, size_t len, char *out)
{
    int64_t n = 0;
    utf8proc_int32_t c;
    for (size_t i = 0; i < len;) {
        utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)s + i,
                                                (utf8proc_ssize_t)(len - i), &c);
        if (got <= 0 || c >= BYTE_CHARS || r->byte_of[c] < 0)
            return -1;
        out[n++] = (char)r->byte_of[c];
        i += (size_t)got;
    }
    return n;
}

/* null, false, 0, "" and absence all say that a feature is not used. */
static int inert(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0);
}

static int refuse_features(const json_t *o, const char *where, const char *const *keys,
                           sae_err *err)
{
    for (; *keys; keys++)
        if (!inert(json_object_get(o, *keys)))
            SAE_FAIL(err, SAE_EFORMAT, "%s.%s: not supported, expected null or false", where,
                     *keys);
    return SAE_OK;
}

static int token_id(const json_t *v, const char *where, const char *what, int32_t *id,
                    sae_err *err)
{
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n > SAE_TOKEN_MAX_ID)
        SAE_FAIL(err, SAE_EFORMAT, "%s: id of '%.64s': expected an integer from 0 to %d", where,
                 what, SAE_TOKEN_MAX_ID);
    *id = (int32_t)n;
    return SAE_OK;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

static int open_pieces(reader *r, json_t *vocab, json_t *added, size_t file_bytes)
{
    const char *key;
    json_t *v;
    size_t i;
    int32_t id = -1, last = -1;
    json_object_foreach(vocab, key, v) {
        SAE_TRY(token_id(v, "vocab", key, &id, r->err));
        last = id > last ? id : last;
    }
    json_array_foreach(added, i, v) {
        const char *content = json_string_value(json_object_get(v, "content"));
        if (!content || !*content)
            SAE_FAIL(r->err, SAE_EFORMAT, "added_tokens[%zu].content: expected a text", i);
        SAE_TRY(token_id(json_object_get(v, "id"), "added_tokens", content, &id, r->err));
        last = id > last ? id : last;
    }
    if (last < 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "vocab: expected at least one token");
    /* decoded text is never longer than its JSON */
    SAE_TRY(sae_pieces_open(r->t, last + 1, file_bytes, r->err));
    r->text = r->t->text;
    return sae_strings_open(&r->t->strings, (int64_t)json_object_size(vocab), r->err);
}

static void put_piece(reader *r, int32_t id, size_t len)
{
    r->t->piece[id] = (sae_piece){r->text, len};
    r->text += len;
}

/* Added tokens come first: their text is written as it is. */
static int load_added(reader *r, json_t *added)
{
    static const char *const refused[] = {"single_word", "lstrip", "rstrip", NULL};
    json_t *v;
    size_t i;
    for (int k = 0; k < 2; k++)
        SAE_TRY(sae_new(&r->b->cuts[k].token, (int64_t)json_array_size(added),
                        sizeof(sae_bpe_added), "tokenizer.added", r->err));
    json_array_foreach(added, i, v) {
        char where[40];
        snprintf(where, sizeof where, "added_tokens[%zu]", i);
        SAE_TRY(refuse_features(v, where, refused, r->err));
        const char *content = json_string_value(json_object_get(v, "content"));
        int32_t id = (int32_t)json_integer_value(json_object_get(v, "id"));
        size_t len = strlen(content);
        if (r->t->piece[id].text)
            SAE_FAIL(r->err, SAE_EFORMAT, "%s.id: %d is used twice", where, (int)id);
        memcpy(r->text, content, len);
        put_piece(r, id, len);
        sae_bpe_cuts *c = &r->b->cuts[json_is_true(json_object_get(v, "normalized"))];
        c->token[c->count++] = (sae_bpe_added){r->t->piece[id].text, len, id};
    }
    sae_bpe_index_cuts(&r->b->cuts[0]);
    sae_bpe_index_cuts(&r->b->cuts[1]);
    return SAE_OK;
}

static int load_vocab(reader *r, json_t *vocab)
{
    const char *key;
    json_t *v;
    json_object_foreach(vocab, key, v) {
        int32_t id = (int32_t)json_integer_value(v);
        const sae_piece *p = &r->t->piece[id];
        size_t len = strlen(key);
        if (p->text && (p->len != len || memcmp(p->text, key, len) != 0))
            SAE_FAIL(r->err, SAE_EFORMAT, "vocab: id %d of '%.64s' is used twice", (int)id, key);
        if (!p->text) {
            int64_t bytes = to_bytes(r, key, len, r->text);
            if (bytes <= 0)
                SAE_FAIL(r->err, SAE_EFORMAT, "vocab: '%.64s' (id %d) is not written in the "
                         "byte characters of GPT-2: only byte-level BPE is supported", key,
                         (int)id);
            put_piece(r, id, (size_t)bytes);
        }
        sae_strings_add(&r->t->strings, r->t->piece, id);
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        r->b->byte_id[b] = sae_strings_find(&r->t->strings, r->t->piece, &byte, 1);
    }
    return SAE_OK;
}

/* ---- merges ---------------------------------------------------------------------------------- */

static int add_merge(reader *r, int64_t rank, const char *left, size_t left_len, const char *right,
                     size_t right_len)
{
    char bytes[1024];
    const sae_tokenizer *t = r->t;
    if (rank > INT32_MAX || left_len + right_len > sizeof bytes)
        SAE_FAIL(r->err, SAE_EFORMAT, "merges[%lld]: longer than %zu bytes", (long long)rank,
                 sizeof bytes);
    int64_t a = to_bytes(r, left, left_len, bytes);
    int64_t b = a > 0 ? to_bytes(r, right, right_len, bytes + a) : -1;
    if (b <= 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "merges[%lld]: expected two tokens", (long long)rank);
    sae_pair p = {.rank = (int32_t)rank,
                  .left = sae_strings_find(&t->strings, t->piece, bytes, (size_t)a),
                  .right = sae_strings_find(&t->strings, t->piece, bytes + a, (size_t)b),
                  .merged = sae_strings_find(&t->strings, t->piece, bytes, (size_t)(a + b))};
    if (p.left < 0 || p.right < 0 || p.merged < 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "merges[%lld]: '%.*s' '%.*s': %s not in the vocabulary",
                 (long long)rank, (int)left_len, left, (int)right_len, right,
                 p.left < 0 ? "the left part is" : p.right < 0 ? "the right part is"
                                                                : "the result is");
    return sae_pairs_set(&r->t->pairs, &p, r->err);
}

static int add_merge_line(reader *r, int64_t rank, const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    size_t left = space ? (size_t)(space - line) : len;
    return add_merge(r, rank, line, left, space ? space + 1 : line + len,
                     space ? len - left - 1 : 0);
}

static int load_merges(reader *r, json_t *merges)
{
    json_t *v;
    size_t i;
    if (!json_is_array(merges))
        SAE_FAIL(r->err, SAE_EFORMAT, "model.merges: expected a list");
    SAE_TRY(sae_pairs_open(&r->t->pairs, (int64_t)json_array_size(merges), r->err));
    json_array_foreach(merges, i, v) {
        const char *a = json_string_value(json_array_get(v, 0));
        const char *b = json_string_value(json_array_get(v, 1));
        if (json_is_string(v))
            SAE_TRY(add_merge_line(r, (int64_t)i, json_string_value(v), json_string_length(v)));
        else if (a && b)
            SAE_TRY(add_merge(r, (int64_t)i, a, strlen(a), b, strlen(b)));
        else
            SAE_FAIL(r->err, SAE_EFORMAT, "model.merges[%zu]: expected \"left right\" or "
                     "[\"left\", \"right\"]", i);
    }
    return SAE_OK;
}

/* vocab.bpe: a version comment, then one merge per line. */
static int load_merge_text(reader *r, const char *text, size_t bytes)
{
    static const char version[] = "#version";
    int64_t rank = 0;
    SAE_TRY(sae_pairs_open(&r->t->pairs, (int64_t)bytes / 8, r->err));
    for (size_t at = 0, next; at < bytes; at = next) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t len = end ? (size_t)(end - (text + at)) : bytes - at;
        next = at + len + 1;
        if (len > 0 && text[at + len - 1] == '\r')
            len--;
        int comment = at == 0 && len >= sizeof version - 1 &&
                      memcmp(text, version, sizeof version - 1) == 0;
        if (len > 0 && !comment)
            SAE_TRY(add_merge_line(r, rank++, text + at, len));
    }
    return SAE_OK;
}

/* ---- normalizer, pre_tokenizer, post_processor ----------------------------------------------- */

static const char *type_of(const json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    return type ? type : "";
}

static int load_normalizer(reader *r, const json_t *o)
{
    static const struct {
        const char *type;
        int options;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    const json_t *items = json_object_get(o, "normalizers");
    if (strcmp(type_of(o), "Sequence") == 0 && json_array_size(items) <= 1)
        o = json_array_get(items, 0);
    if (inert(o))
        return SAE_OK;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(type_of(o), forms[i].type) == 0) {
            r->b->normalize = forms[i].options;
            return SAE_OK;
        }
    SAE_FAIL(r->err, SAE_EFORMAT, "normalizer.type: expected NFC, NFD, NFKC or NFKD, found '%.64s'",
             type_of(o));
}

static int load_byte_level(reader *r, const json_t *o)
{
    const json_t *regex = json_object_get(o, "use_regex");
    r->b->prefix_space = json_is_true(json_object_get(o, "add_prefix_space"));
    if (r->b->prefix_space && r->b->stages > 0)
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "pre_tokenizer.add_prefix_space: not supported behind another step");
    if (json_is_false(regex))
        return SAE_OK;
    return sae_bpe_add_stage(r->b, sae_bpe_gpt2_pattern, 0, 1, 1, r->err);
}

static int load_split(reader *r, const json_t *o)
{
    const json_t *pattern = json_object_get(o, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(o, "behavior"));
    int invert = json_is_true(json_object_get(o, "invert"));
    int removed = behavior && strcmp(behavior, "Removed") == 0;
    if (!removed && (!behavior || strcmp(behavior, "Isolated") != 0))
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "pre_tokenizer.behavior: expected Isolated or Removed, found '%.64s'",
                 behavior ? behavior : "");
    if (!regex && !literal)
        SAE_FAIL(r->err, SAE_EFORMAT, "pre_tokenizer.pattern: expected Regex or String");
    return sae_bpe_add_stage(r->b, regex ? regex : literal, !regex, !removed || invert,
                             !removed || !invert, r->err);
}

static int load_pre_tokenizer(reader *r, const json_t *o)
{
    const json_t *items = NULL;
    if (strcmp(type_of(o), "Sequence") == 0)
        items = json_object_get(o, "pretokenizers");
    size_t count = items ? json_array_size(items) : 1;
    int byte_level = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *step = items ? json_array_get(items, i) : o;
        const char *type = type_of(step);
        int each = json_is_true(json_object_get(step, "individual_digits"));
        if (byte_level)
            SAE_FAIL(r->err, SAE_EFORMAT, "pre_tokenizer: nothing may follow ByteLevel, found "
                     "'%.64s'", type);
        if (strcmp(type, "ByteLevel") == 0) {
            SAE_TRY(load_byte_level(r, step));
            byte_level = 1;
        } else if (strcmp(type, "Split") == 0) {
            SAE_TRY(load_split(r, step));
        } else if (strcmp(type, "Digits") == 0) {
            SAE_TRY(sae_bpe_add_stage(r->b, each ? "\\p{N}" : "\\p{N}+", 0, 1, 1, r->err));
        } else {
            SAE_FAIL(r->err, SAE_EFORMAT, "pre_tokenizer.type: expected ByteLevel, Split, Digits "
                     "or a Sequence of them, found '%.64s'", type);
        }
    }
    if (!byte_level)
        SAE_FAIL(r->err, SAE_EFORMAT, "pre_tokenizer: no ByteLevel step: only byte-level BPE is "
                 "supported");
    return SAE_OK;
}

/* Id of a token by its text as written, -1 when absent. */
static int32_t id_of(const sae_tokenizer *t, const char *text)
{
    size_t len = strlen(text);
    for (int32_t id = 0; id < t->vocab; id++)
        if (t->piece[id].text && t->piece[id].len == len &&
            memcmp(t->piece[id].text, text, len) == 0)
            return id;
    return -1;
}

static int32_t first_of(const sae_tokenizer *t, const char *const *names)
{
    int32_t id = -1;
    for (; *names && id < 0; names++)
        id = id_of(t, *names);
    return id;
}

/* TemplateProcessing: one special token in front of the text, that is BOS. */
static int load_template(reader *r, const json_t *o)
{
    const json_t *single = json_object_get(o, "single");
    size_t count = json_array_size(single);
    const json_t *front = json_object_get(json_array_get(single, 0), "SpecialToken");
    const json_t *text = json_object_get(json_array_get(single, count - 1), "Sequence");
    if (!text || count != 1u + (front != NULL))
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "post_processor.single: expected at most one special token in front of the text");
    const char *name = json_string_value(json_object_get(front, "id"));
    r->t->bos = name ? id_of(r->t, name) : r->t->bos;
    if (name && r->t->bos < 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "post_processor.single: '%.64s' is not in the vocabulary",
                 name);
    return SAE_OK;
}

static int load_post_processor(reader *r, const json_t *o)
{
    const json_t *items = json_object_get(o, "processors");
    size_t count = items ? json_array_size(items) : !inert(o);
    for (size_t i = 0; i < count; i++) {
        const json_t *step = items ? json_array_get(items, i) : o;
        if (strcmp(type_of(step), "TemplateProcessing") == 0)
            SAE_TRY(load_template(r, step));
        else if (strcmp(type_of(step), "ByteLevel") != 0)
            SAE_FAIL(r->err, SAE_EFORMAT, "post_processor.type: expected ByteLevel, "
                     "TemplateProcessing or a Sequence of them, found '%.64s'", type_of(step));
    }
    return SAE_OK;
}

/* The names by which models mark the ends of a text; the file itself does not say. */
static void find_ends(sae_tokenizer *t)
{
    static const char *const bos[] = {"<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>", NULL};
    static const char *const eos[] = {"<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>", NULL};
    t->bos = first_of(t, bos);
    t->eos = first_of(t, eos);
}

/* ---- the two files --------------------------------------------------------------------------- */

static int load_tokenizer(reader *r, json_t *root, size_t bytes)
{
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", "fuse_unk", "byte_fallback", NULL};
    json_t *model = json_object_get(root, "model");
    json_t *vocab = json_object_get(model, "vocab"), *added = json_object_get(root, "added_tokens");
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    if (*type_of(model) && strcmp(type_of(model), "BPE") != 0)
        SAE_FAIL(r->err, SAE_EFORMAT, "model.type: expected BPE, found '%.64s'", type_of(model));
    if (!json_is_object(vocab))
        SAE_FAIL(r->err, SAE_EFORMAT, "model.vocab: expected an object");
    SAE_TRY(refuse_features(model, "model", refused, r->err));
    SAE_TRY(open_pieces(r, vocab, added, bytes));
    SAE_TRY(load_added(r, added));
    SAE_TRY(load_vocab(r, vocab));
    SAE_TRY(load_merges(r, json_object_get(model, "merges")));
    r->t->unknown = unknown ? id_of(r->t, unknown) : -1;
    r->b->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    find_ends(r->t);
    SAE_TRY(load_normalizer(r, json_object_get(root, "normalizer")));
    SAE_TRY(load_pre_tokenizer(r, json_object_get(root, "pre_tokenizer")));
    return load_post_processor(r, json_object_get(root, "post_processor"));
}

/* encoder.json; <|endoftext|>, where it exists, is cut out of the text as in tokenizer.json. */
static int load_encoder(reader *r, json_t *vocab, const sae_token_file *f)
{
    static const char end[] = "<|endoftext|>";
    int rc;
    if (!f->merges)
        SAE_FAIL(r->err, SAE_EFORMAT,
                 "a table of tokens needs vocab.bpe or merges.txt beside it");
    json_t *id = json_object_get(vocab, end);
    json_t *added = id ? json_pack("[{s:s,s:O}]", "content", end, "id", id) : json_array();
    if (!added)
        SAE_FAIL(r->err, SAE_ENOMEM, "out of memory");
    SAE_GOTO(open_pieces(r, vocab, added, f->bytes + sizeof end));
    SAE_GOTO(load_added(r, added));
    SAE_GOTO(load_vocab(r, vocab));
    SAE_GOTO(load_merge_text(r, f->merges, f->merges_bytes));
    find_ends(r->t);
    r->t->uses_merges = 1;
    rc = sae_bpe_add_stage(r->b, sae_bpe_gpt2_pattern, 0, 1, 1, r->err);
fail:
    json_decref(added);
    return rc;
}

int sae_tokenizer_json(sae_tokenizer *t, const sae_token_file *f, sae_err *err)
{
    json_error_t e;
    reader r = {.t = t, .err = err};
    fill_byte_table(&r);
    int bom = f->bytes >= 3 && memcmp(f->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    json_t *root = json_loadb(f->data + bom, f->bytes - (size_t)bom, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        SAE_FAIL(err, SAE_EFORMAT, "line %d column %d: %s", e.line, e.column, e.text);
    int rc = sae_bpe_open(t, &r.b, err);
    if (rc >= 0)
        rc = json_is_object(json_object_get(root, "model")) ? load_tokenizer(&r, root, f->bytes)
                                                            : load_encoder(&r, root, f);
    json_decref(root);
    return rc;
}
