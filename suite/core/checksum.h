/* suite/core/checksum.h - SHA-256 of files, and the SHA256SUMS file of a directory (the form that
 * `sha256sum -c` reads): what is handed to others can be verified by them and by us. */
#ifndef SAE_CORE_CHECKSUM_H
#define SAE_CORE_CHECKSUM_H

#include <sae/base.h>

/* Of bytes, 64 hexadecimal digits (libcrypto). */
int sae_sha256(const void *p, size_t bytes, char out[65], sae_err *err);
int sae_sha256_file(const char *path, char out[65], sae_err *err);

/* Write DIR/SHA256SUMS over every regular file in it, sorted by name. */
int sae_sums_write(const char *dir, sae_err *err);
/* Verify the files that DIR/SHA256SUMS names and that are there: SAE_EFORMAT with the file,
 * expected and found. A directory without SHA256SUMS passes (SAE_DONE). */
int sae_sums_check(const char *dir, sae_err *err);

#endif
