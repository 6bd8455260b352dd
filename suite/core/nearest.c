/* suite/core/nearest.c - unknown keys and names: what was meant, what there is. */
#include "core/options.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/text.h"

#include <string.h>

enum { LONGEST = 63 };

/* Levenshtein distance of words of at most LONGEST characters; two neighbours swapped count once.
 */
static size_t distance(const char *a, const char *b)
{
    size_t row[3][LONGEST + 1], la = strlen(a), lb = strlen(b);
    for (size_t i = 0; i <= la; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *first = row[(i + 1) % 3];
        for (size_t j = 0; j <= lb; j++) {
            if (i == 0 || j == 0) {
                now[j] = i + j;
                continue;
            }
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            int swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            now[j] = swapped && first[j - 2] + 1 < best ? first[j - 2] + 1 : best;
        }
    }
    return row[la % 3][lb];
}

const char *sae_nearest(const char *word, const char *const *list)
{
    size_t len = strlen(word), near = len / 3 > 1 ? len / 3 : 1;
    size_t best = near + 1 < len ? near + 1 : len; /* replacing every letter is not near */
    const char *found = NULL;
    for (; len <= LONGEST && *list; list++) {
        size_t d = strlen(*list) <= LONGEST ? distance(word, *list) : best;
        if (d < best) {
            best = d;
            found = *list;
        }
    }
    return found;
}

int sae_unknown_word(const char *what, const char *word, const char *const *list, sae_err *err)
{
    sae_text text = {0};
    const char *near = sae_nearest(word, list);
    if (near) {
        sae_text_puts(&text, "; did you mean \"");
        sae_text_puts(&text, near);
        sae_text_putc(&text, '"');
    }
    sae_text_puts(&text, near ? "? Known: " : "; known: ");
    for (int64_t i = 0; list[i]; i++) {
        sae_text_puts(&text, i ? ", " : "");
        sae_text_puts(&text, list[i]);
    }
    char *rest = sae_text_take(&text);
    int rc = SAE_SET(err, SAE_EINVAL, "unknown %s \"%.60s\"%s", what, word, rest ? rest : "");
    sae_free(rest);
    return rc;
}

int sae_unknown_key(const char *key, const sae_option *table, const char *extra, sae_err *err)
{
    const char **list = NULL;
    int64_t count = 0;
    while (table[count].name)
        count++;
    SAE_TRY(sae_new(&list, count + 2, sizeof *list, "keys", err));
    for (int64_t i = 0; i < count; i++)
        list[i] = table[i].name;
    list[count] = extra;
    int rc = sae_unknown_word("key", key, list, err);
    sae_free(list);
    return rc;
}
