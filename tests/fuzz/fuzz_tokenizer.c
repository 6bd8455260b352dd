/* tests/fuzz/fuzz_tokenizer.c - any tokenizer file, then any text through it.
 *
 * Input: u16 length of the file (little endian), the file, then the text. The text also serves as
 * the merges of a bare table of tokens. Checked: ids are in the vocabulary and have text, and what
 * a llama2.c tokenizer without unknown characters encodes it decodes to the same bytes.
 */
#include "models/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TEXT = 4096 };

static void check_decode(const sae_tokenizer *t, const int32_t *ids, int64_t count,
                         const char *text, size_t bytes)
{
    static char back[MAX_TEXT * 512];
    size_t got;
    sae_err err = {0};
    int unknown = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t len;
        unknown |= ids[i] == t->unknown;
        if (!sae_tokenizer_piece(t, ids[i], &len))
            abort();
    }
    if (sae_tokenizer_decode(t, ids, count, back, sizeof back, &got, &err) < 0)
        abort();
    if (t->dummy_prefix && !unknown && (got != bytes || memcmp(back, text, bytes) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int32_t ids[MAX_TEXT + 2];
    if (size < 2)
        return 0;
    size_t file = (size_t)(data[0] | data[1] << 8);
    if (file > size - 2 || size - 2 - file > MAX_TEXT)
        return 0;
    const char *text = (const char *)data + 2 + file;
    size_t bytes = size - 2 - file;
    sae_token_file f = {"input", (const char *)data + 2, file, text, bytes};
    sae_tokenizer *t;
    sae_err err = {0};
    if (sae_tokenizer_parse(&t, &f, 0, &err) < 0) {
        if (t || !err.msg[0])
            abort();
        return 0;
    }
    int64_t count;
    if (sae_tokenizer_encode(t, text, bytes, 1, ids, MAX_TEXT + 2, &count, &err) >= 0)
        check_decode(t, ids, count, text, bytes);
    else if (!err.msg[0])
        abort();
    sae_tokenizer_close(&t);
    return 0;
}
