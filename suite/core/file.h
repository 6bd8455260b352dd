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

/* A file being written: data goes to "PATH.tmp.PID"; commit flushes, syncs and renames; abandon
 * (also after a failed commit) removes it. Errors of writes in between surface at commit. */
typedef struct sae_out {
    FILE *f;
    char *path, *tmp;
} sae_out;

int sae_out_open(sae_out *o, const char *path, sae_err *err);
int sae_out_write(sae_out *o, const void *p, size_t bytes, sae_err *err);
int sae_out_commit(sae_out *o, sae_err *err);
void sae_out_abandon(sae_out *o); /* no-op after commit */

int sae_file_write(const char *path, const void *p, size_t bytes, sae_err *err); /* open..commit */
int sae_file_exists(const char *path);
int64_t sae_file_size(const char *path); /* -1 when absent */
int sae_dir_make(const char *path, sae_err *err); /* with parents; fine if it exists */
int sae_dir_remove(const char *path, sae_err *err); /* recursively; fine if absent */
int sae_dir_rename(const char *from, const char *to, sae_err *err); /* replaces an existing `to` */
/* Names in a directory (without . and ..), sorted, NULL-terminated; free with sae_names_free. */
int sae_dir_list(const char *path, char ***names, sae_err *err);
void sae_names_free(char ***names);
char *sae_path_join(const char *a, const char *b); /* caller frees */

/* Counts write and sync calls and fails the i-th with ENOSPC; 0 switches off. For tests/fault. */
void sae_io_fail_at(uint64_t i);

#endif
