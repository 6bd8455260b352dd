/* suite/core/file.h - reading by mapping, writing under a temporary name, directories.
 *
 * Nothing appears under its final name before it is complete and synced.
 */
#ifndef SAE_CORE_FILE_H
#define SAE_CORE_FILE_H

#include <sae/base.h>
#include <stdio.h>

/* A file mapped read-only. */
typedef struct sae_map {
    const unsigned char *p; /* NULL when bytes == 0 */
    size_t bytes;
} sae_map;

int sae_map_open(sae_map *m, const char *path, sae_err *err);
void sae_map_close(sae_map *m);

/* A file being written: data goes to "PATH.tmp.PID"; commit flushes, syncs, closes and renames,
 * abandon removes it. A commit that fails has abandoned. A write that failed, through sae_out_write
 * or through `f`, makes flush and commit fail. */
typedef struct sae_out {
    FILE *f;    /* NULL when closed */
    char *path;
    char *tmp;  /* NULL: written in place */
    int failed; /* errno of the first failure */
} sae_out;

int sae_out_open(sae_out *o, const char *path, sae_err *err);
/* An existing file, cut to `keep` bytes and grown in place: abandon leaves it. */
int sae_out_append(sae_out *o, const char *path, int64_t keep, sae_err *err);
int sae_out_write(sae_out *o, const void *p, size_t bytes, sae_err *err);
int sae_out_flush(sae_out *o, sae_err *err); /* to the system, not to the disk */
int sae_out_commit(sae_out *o, sae_err *err);
void sae_out_abandon(sae_out *o); /* no-op after commit and on a zeroed struct */

int sae_file_write(const char *path, const void *p, size_t bytes, sae_err *err); /* open..commit */
int sae_file_exists(const char *path);
int64_t sae_file_size(const char *path); /* -1 when absent */
int sae_file_remove(const char *path, sae_err *err); /* fine if absent */
int sae_dir_make(const char *path, sae_err *err); /* with parents; fine if it exists */
int sae_dir_remove(const char *path, sae_err *err); /* recursively; fine if absent */
int sae_dir_rename(const char *from, const char *to, sae_err *err); /* replaces an existing `to` */
/* Names in a directory (without . and ..), sorted, NULL-terminated; free with sae_names_free. */
int sae_dir_list(const char *path, char ***names, sae_err *err);
void sae_names_free(char ***names);
/* "a/b"; b alone when a is "" or b is absolute. NULL when out of memory; free with sae_free. */
char *sae_path_join(const char *a, const char *b);

/* Fail the i-th write, flush, sync or rename from now on with ENOSPC; 0 switches off. For
 * tests/fault. */
void sae_io_fail_at(uint64_t i);

#endif
