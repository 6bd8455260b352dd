/* suite/core/checksum.c - SHA-256 through libcrypto. */
#include "core/checksum.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"

#include <openssl/evp.h>
#include <string.h>

enum { DIGITS = 64 };
static const char sums_name[] = "SHA256SUMS";

int sae_sha256(const void *p, size_t bytes, char out[65], sae_err *err)
{
    static const char digit[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(bytes ? p : "", bytes, hash, &len, EVP_sha256(), NULL) != 1 ||
        2 * len != DIGITS)
        SAE_FAIL(err, SAE_EBACKEND, "libcrypto cannot compute SHA-256");
    for (unsigned i = 0; i < len; i++) {
        out[2 * i] = digit[hash[i] >> 4];
        out[2 * i + 1] = digit[hash[i] & 15];
    }
    out[DIGITS] = '\0';
    return SAE_OK;
}

int sae_sha256_file(const char *path, char out[65], sae_err *err)
{
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    int rc = sae_sha256(m.p, m.bytes, out, err);
    sae_map_close(&m);
    return rc < 0 ? sae_fail_prefix(err, rc, "%s", path) : rc;
}

static int sum_in(const char *dir, const char *name, char out[65], sae_err *err)
{
    char *path = sae_path_join(dir, name);
    int rc = path ? sae_sha256_file(path, out, err)
                  : SAE_SET(err, SAE_ENOMEM, "%s: out of memory", dir);
    sae_free(path);
    return rc;
}

int sae_sums_write(const char *dir, sae_err *err)
{
    char **names = NULL, hex[DIGITS + 1];
    sae_text text = {0};
    SAE_TRY(sae_dir_list(dir, &names, err));
    int rc = SAE_OK;
    for (int i = 0; rc >= 0 && names[i]; i++) {
        rc = sum_in(dir, names[i], hex, err);
        sae_text_puts(&text, hex);
        sae_text_puts(&text, "  ");
        sae_text_puts(&text, names[i]);
        sae_text_putc(&text, '\n');
    }
    sae_names_free(&names);
    char *all = sae_text_take(&text), *path = sae_path_join(dir, sums_name);
    if (rc >= 0 && (!all || !path))
        rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", dir);
    if (rc >= 0)
        rc = sae_file_write(path, all, strlen(all), err);
    sae_free(all);
    sae_free(path);
    return rc;
}

/* One line, "64 digits, two spaces, name". A file that is not there is not wrong: people copy parts
 * of a directory. */
static int check_line(const char *dir, const char *line, size_t len, sae_err *err)
{
    char name[256], found[DIGITS + 1];
    if (len < DIGITS + 3 || len - DIGITS - 2 >= sizeof name || memcmp(line + DIGITS, "  ", 2))
        SAE_FAIL(err, SAE_EFORMAT, "%s/%s: expected lines of 64 digits, two spaces and a name", dir,
                 sums_name);
    memcpy(name, line + DIGITS + 2, len - DIGITS - 2);
    name[len - DIGITS - 2] = '\0';
    char *path = sae_path_join(dir, name);
    int there = path && sae_file_exists(path);
    sae_free(path);
    if (!there)
        return SAE_OK;
    SAE_TRY(sum_in(dir, name, found, err));
    if (memcmp(found, line, DIGITS))
        SAE_FAIL(err, SAE_EFORMAT, "%s/%s: SHA-256 expected %.*s, found %s", dir, name, DIGITS,
                 line, found);
    return SAE_OK;
}

int sae_sums_check(const char *dir, sae_err *err)
{
    char *path = sae_path_join(dir, sums_name);
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", dir);
    sae_map m = {0};
    int rc = sae_file_exists(path) ? sae_map_open(&m, path, err) : SAE_DONE;
    const char *at = (const char *)m.p;
    for (size_t left = m.bytes; rc == SAE_OK && left > 0;) {
        const char *end = memchr(at, '\n', left);
        size_t len = end ? (size_t)(end - at) : left;
        rc = check_line(dir, at, len, err);
        at += len + (end != NULL);
        left -= len + (end != NULL);
    }
    sae_map_close(&m);
    sae_free(path);
    return rc;
}
