/* tests/fuzz/fuzz_tokenizer.c - any tokenizer file, then any text through it.
 *
 * Input: u16 length of the file (little endian), the file, then the text. The text also serves as
 * the merges of a bare table of tokens and as the tokenizer_config.json of a text that is JSON.
 * Checked: ids are in the vocabulary and have text, counting needs no room, and what a llama2.c
 * tokenizer without unknown characters encodes it decodes to the same bytes.
 */
#include "models/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TEXT = 4096, MAX_IDS = 1 << 20 };

static int32_t ids[MAX_IDS];

static void check_decode(const sae_tokenizer *t, int64_t count, const char *text, size_t bytes)
{
    static char back[1 << 22];
    size_t got;
    sae_err err = {0};
    int unknown = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t len;
        unknown |= ids[i] == t->unknown;
        if (!sae_tokenizer_piece(t, ids[i], &len))
            abort();
    }
    int rc = sae_tokenizer_decode(t, ids, count, back, sizeof back, &got, &err);
    if (rc < 0 && rc != SAE_ECAPACITY)
        abort();
    if (t->decoding.dummy_prefix && !unknown && (got != bytes || memcmp(back, text, bytes) != 0))
        abort();
}

static void check_encode(const sae_tokenizer *t, const char *text, size_t bytes)
{
    int64_t count, again;
    sae_err err = {0};
    int rc = sae_tokenizer_encode(t, text, bytes, 1, ids, MAX_IDS, &count, &err);
    if (rc >= 0)
        check_decode(t, count, text, bytes);
    else if (!err.msg[0])
        abort();
    err = (sae_err){0};
    int none = sae_tokenizer_encode(t, text, bytes, 1, ids, 0, &again, &err);
    if (rc >= 0 && (again != count || none != (count > 0 ? SAE_ECAPACITY : SAE_OK)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t file = (size_t)(data[0] | data[1] << 8);
    if (file > size - 2 || size - 2 - file > MAX_TEXT)
        return 0;
    const char *text = (const char *)data + 2 + file;
    size_t bytes = size - 2 - file;
    int config = bytes > 0 && *text == '{';
    sae_token_file f = {
        "input",           (const char *)data + 2, file, text, bytes, config ? text : NULL,
        config ? bytes : 0};
    sae_tokenizer *t;
    sae_err err = {0};
    if (sae_tokenizer_parse(&t, &f, 0, &err) < 0) {
        if (t || !err.msg[0])
            abort();
        return 0;
    }
    check_encode(t, text, bytes);
    sae_tokenizer_close(&t);
    return 0;
}
