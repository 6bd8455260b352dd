/* suite/models/tokenizer_llama2c.c - tokenizer.bin of llama2.c.
 *
 * int32 longest piece in bytes; then for every id float32 score, int32 length, the bytes. Id 0 is
 * unknown, 1 is BOS, 2 is EOS. When ids 3..258 are "<0x00>".."<0xFF>", a character that is no piece
 * becomes the tokens of its bytes, else it becomes id 0. Neighbours whose concatenation is a piece
 * merge, highest score first: the scores become ranks, and every way to cut a piece in two pieces
 * becomes an entry of the pair table.
 */
#include "models/tokenizer_impl.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN = 0, BOS = 1, EOS = 2, FIRST_BYTE = 3, SPECIALS = 3, PIECE_MAX = 512 };

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int32_t read_i32(const char *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Number of entries, their bytes and validity of every field. */
static int scan(const sae_token_file *f, int64_t *entries, sae_err *err)
{
    if (f->bytes < 4)
        SAE_FAIL(err, SAE_EFORMAT, "%zu bytes are too few for a tokenizer", f->bytes);
    int32_t longest = read_i32(f->data);
    if (longest < 1 || longest > PIECE_MAX)
        SAE_FAIL(err, SAE_EFORMAT, "longest token: expected 1 to %d bytes, found %d", PIECE_MAX,
                 (int)longest);
    int64_t id = 0;
    for (size_t at = 4; at < f->bytes; id++) {
        if (f->bytes - at < 8)
            SAE_FAIL(err, SAE_EFORMAT, "token %lld: the file ends inside its header",
                     (long long)id);
        float score;
        memcpy(&score, f->data + at, sizeof score);
        int32_t len = read_i32(f->data + at + 4);
        at += 8;
        if (isnan(score))
            SAE_FAIL(err, SAE_EFORMAT, "token %lld: its score is NaN", (long long)id);
        if (len < 0 || len > longest || (size_t)len > f->bytes - at)
            SAE_FAIL(err, SAE_EFORMAT, "token %lld: length: expected 0 to %d, found %d%s",
                     (long long)id, (int)longest, (int)len,
                     len > longest || len < 0 ? "" : ", past the end of the file");
        at += (size_t)len;
    }
    if (id < SPECIALS || id > SAE_TOKEN_MAX_ID)
        SAE_FAIL(err, SAE_EFORMAT, "expected %d to %d tokens, found %lld", SPECIALS,
                 SAE_TOKEN_MAX_ID, (long long)id);
    *entries = id;
    return SAE_OK;
}

static void load(sae_tokenizer *t, const sae_token_file *f, scored *score)
{
    char *text = t->token_text;
    size_t at = 4;
    for (int32_t id = 0; id < t->vocab; id++) {
        size_t len = (size_t)read_i32(f->data + at + 4);
        memcpy(&score[id].score, f->data + at, sizeof(float));
        score[id].id = id;
        memcpy(text, f->data + at + 8, len);
        t->token[id] = (sae_piece){text, len};
        text += len;
        at += 8 + len;
    }
}

static int has_bytes(const sae_tokenizer *t)
{
    if (t->vocab < FIRST_BYTE + 256)
        return 0;
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        const sae_piece *p = &t->token[FIRST_BYTE + b];
        if (p->len != 6 || memcmp(p->text, name, 6) != 0)
            return 0;
    }
    return 1;
}

/* Byte tokens stand for their byte, not for their name. */
static void name_bytes(sae_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        sae_piece *p = &t->token[FIRST_BYTE + b];
        t->token_text[p->text - t->token_text] = (char)b;
        p->len = 1;
    }
}

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Every cut of the piece into two pieces. */
static int add_cuts(sae_tokenizer *t, int32_t id, int32_t rank, sae_err *err)
{
    const sae_piece *p = &t->token[id];
    for (size_t cut = 1; cut < p->len; cut++) {
        int32_t left = sae_strings_find(&t->strings, t->token, p->text, cut);
        if (left < 0)
            continue;
        int32_t right = sae_strings_find(&t->strings, t->token, p->text + cut, p->len - cut);
        if (right < 0)
            continue;
        sae_pair pair = {left, right, rank, id};
        SAE_TRY(sae_pairs_set(&t->pairs, &pair, err));
    }
    return SAE_OK;
}

/* Only ordinary pieces take part in look-up and merging. */
static int index_pieces(sae_tokenizer *t, scored *score, int32_t first, sae_err *err)
{
    SAE_TRY(sae_strings_open(&t->strings, t->vocab, err));
    SAE_TRY(sae_pairs_open(&t->pairs, t->vocab, err));
    for (int32_t id = first; id < t->vocab; id++)
        if (t->token[id].len > 0)
            sae_strings_add(&t->strings, t->token, id);
    qsort(score + first, (size_t)(t->vocab - first), sizeof *score, by_score);
    int32_t rank = 0;
    for (int64_t i = first; i < t->vocab; i++) {
        rank += i > first && score[i].score != score[i - 1].score;
        int32_t id = score[i].id;
        const sae_piece *p = &t->token[id];
        if (sae_strings_find(&t->strings, t->token, p->text, p->len) == id)
            SAE_TRY(add_cuts(t, id, rank, err));
    }
    return SAE_OK;
}

static void add_character(const sae_tokenizer *t, sae_merger *m, const char *p, size_t len)
{
    int32_t id = sae_strings_find(&t->strings, t->token, p, len);
    if (id >= 0) {
        sae_merger_add(m, id);
    } else if (t->unknown >= 0) {
        sae_merger_add(m, t->unknown);
    } else {
        for (size_t i = 0; i < len; i++)
            sae_merger_add(m, FIRST_BYTE + (unsigned char)p[i]);
    }
}

static int encode(const sae_tokenizer *t, const char *text, size_t bytes, sae_ids *out,
                  sae_err *err)
{
    if (bytes == 0)
        return SAE_OK;
    sae_merger m = {0};
    SAE_TRY(sae_merger_reserve(&m, (int64_t)bytes + 1, err));
    add_character(t, &m, " ", 1);
    for (size_t at = 0, len; at < bytes; at += len) {
        len = sae_utf8_char(text + at, bytes - at);
        add_character(t, &m, text + at, len);
    }
    sae_merger_run(&m, &t->pairs, out);
    sae_merger_close(&m);
    return SAE_OK;
}

int sae_tokenizer_llama2c(sae_tokenizer *t, const sae_token_file *f, sae_err *err)
{
    int64_t entries = 0;
    SAE_TRY(scan(f, &entries, err));
    SAE_TRY(sae_tokens_open(t, entries, f->bytes, err));
    scored *score;
    SAE_TRY(sae_new(&score, entries, sizeof *score, "tokenizer.scores", err));
    load(t, f, score);
    int bytes = has_bytes(t);
    if (bytes)
        name_bytes(t);
    t->bos = BOS;
    t->eos = EOS;
    t->unknown = bytes ? -1 : UNKNOWN;
    t->decoding.dummy_prefix = 1;
    t->encode = encode;
    int rc = index_pieces(t, score, bytes ? FIRST_BYTE + 256 : SPECIALS, err);
    sae_free(score);
    return rc;
}
