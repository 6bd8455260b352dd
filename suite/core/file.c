/* suite/core/file.c - files: mapped input, output under a temporary name, directories. */
#include "core/file.h"

#include "core/error.h"
#include "core/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- fault injection ------------------------------------------------------------------------- */

static _Atomic uint64_t fail_in; /* calls until the one that fails; 0: off */

void sae_io_fail_at(uint64_t i)
{
    atomic_store(&fail_in, i);
}

/* 1 with errno set when this call is the one to fail. */
static int io_fault(void)
{
    uint64_t left = atomic_load(&fail_in);
    while (left && !atomic_compare_exchange_weak(&fail_in, &left, left - 1))
        ;
    if (left != 1)
        return 0;
    errno = ENOSPC;
    return 1;
}

/* ---- reading --------------------------------------------------------------------------------- */

int sae_map_open(sae_map *m, const char *path, sae_err *err)
{
    *m = (sae_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        SAE_FAIL(err, SAE_EIO, "%s: cannot open: %s", path, strerror(errno));
    int rc = SAE_OK;
    struct stat st;
    if (fstat(fd, &st) < 0) {
        rc = SAE_SET(err, SAE_EIO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = SAE_SET(err, SAE_EIO, "%s: expected a regular file, found a %s", path,
                     S_ISDIR(st.st_mode) ? "directory" : "special file");
    } else if (st.st_size > 0) {
        size_t bytes = (size_t)st.st_size;
        void *p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = SAE_SET(err, SAE_EIO, "%s: cannot map %zu bytes: %s", path, bytes,
                         strerror(errno));
        else
            *m = (sae_map){p, bytes};
    }
    close(fd);
    return rc;
}

void sae_map_close(sae_map *m)
{
    if (m->p)
        munmap((void *)(uintptr_t)m->p, m->bytes);
    *m = (sae_map){0};
}

/* ---- writing --------------------------------------------------------------------------------- */

static int out_fail(sae_out *o, const char *what, sae_err *err)
{
    if (!o->failed)
        o->failed = errno ? errno : EIO;
    SAE_FAIL(err, SAE_EIO, "%s: %s: %s", o->path, what, strerror(o->failed));
}

int sae_out_open(sae_out *o, const char *path, sae_err *err)
{
    *o = (sae_out){0};
    o->path = sae_strdup(path);
    o->tmp = sae_strfmt("%s.tmp.%ld", path, (long)getpid());
    if (!o->path || !o->tmp) {
        sae_out_abandon(o);
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    }
    o->f = fopen(o->tmp, "wb");
    if (!o->f) {
        int rc = SAE_SET(err, SAE_EIO, "%s: cannot create: %s", path, strerror(errno));
        sae_out_abandon(o);
        return rc;
    }
    return SAE_OK;
}

int sae_out_append(sae_out *o, const char *path, int64_t keep, sae_err *err)
{
    *o = (sae_out){0};
    o->path = sae_strdup(path);
    if (!o->path)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    if (sae_file_size(path) >= 0 && sae_file_size(path) < keep) {
        sae_out_abandon(o);
        SAE_FAIL(err, SAE_EFORMAT, "%s: shorter than the %lld bytes that were written", path,
                 (long long)keep);
    }
    o->f = fopen(path, "r+b");
    if (!o->f || ftruncate(fileno(o->f), (off_t)keep) < 0 || fseeko(o->f, 0, SEEK_END) < 0) {
        int rc = SAE_SET(err, SAE_EIO, "%s: cannot open for appending: %s", path, strerror(errno));
        sae_out_abandon(o);
        return rc;
    }
    return SAE_OK;
}

int sae_out_write(sae_out *o, const void *p, size_t bytes, sae_err *err)
{
    errno = 0;
    if (o->failed || io_fault() || (bytes && fwrite(p, 1, bytes, o->f) != bytes))
        return out_fail(o, "cannot write", err);
    return SAE_OK;
}

int sae_out_flush(sae_out *o, sae_err *err)
{
    errno = 0;
    if (o->failed || io_fault() || fflush(o->f) || ferror(o->f))
        return out_fail(o, "cannot write", err);
    return SAE_OK;
}

/* Make a rename durable; cuts the path down to its folder. A file system that cannot sync
 * directories is no reason to fail. */
static void sync_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        slash[1] = '\0';
    int fd = open(slash ? path : ".", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

int sae_out_commit(sae_out *o, sae_err *err)
{
    int rc;
    SAE_GOTO(sae_out_flush(o, err));
    if (io_fault() || fsync(fileno(o->f))) {
        rc = out_fail(o, "cannot sync", err);
        goto fail;
    }
    int closed = fclose(o->f);
    o->f = NULL;
    if (closed || (o->tmp && (io_fault() || rename(o->tmp, o->path)))) {
        rc = out_fail(o, "cannot finish", err);
        goto fail;
    }
    if (o->tmp)
        sync_parent(o->path);
    sae_free(o->tmp);
    o->tmp = NULL;
fail:
    sae_out_abandon(o);
    return rc;
}

void sae_out_abandon(sae_out *o)
{
    if (o->f)
        fclose(o->f);
    if (o->tmp)
        unlink(o->tmp);
    sae_free(o->tmp);
    sae_free(o->path);
    *o = (sae_out){0};
}

int sae_file_write(const char *path, const void *p, size_t bytes, sae_err *err)
{
    sae_out o;
    SAE_TRY(sae_out_open(&o, path, err));
    int rc = sae_out_write(&o, p, bytes, err);
    if (rc < 0) {
        sae_out_abandon(&o);
        return rc;
    }
    return sae_out_commit(&o, err);
}

/* ---- names and directories ------------------------------------------------------------------- */

int sae_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int64_t sae_file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

int sae_file_remove(const char *path, sae_err *err)
{
    if (unlink(path) < 0 && errno != ENOENT)
        SAE_FAIL(err, SAE_EIO, "%s: cannot remove: %s", path, strerror(errno));
    return SAE_OK;
}

int sae_dir_make(const char *path, sae_err *err)
{
    char *p = sae_strdup(path);
    if (!p)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    int rc = SAE_OK;
    struct stat st;
    for (char *s = p; rc == SAE_OK && *s;) {
        s += strspn(s, "/");
        s += strcspn(s, "/");
        char end = *s;
        *s = '\0';
        if (mkdir(p, 0777) < 0 && errno != EEXIST)
            rc = SAE_SET(err, SAE_EIO, "%s: cannot create directory: %s", p, strerror(errno));
        else if (stat(p, &st) < 0 || !S_ISDIR(st.st_mode))
            rc = SAE_SET(err, SAE_EIO, "%s: exists and is not a directory", p);
        *s = end;
    }
    sae_free(p);
    return rc;
}

static int remove_tree(const char *path, sae_err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        SAE_FAIL(err, SAE_EIO, "%s: cannot remove: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return sae_file_remove(path, err);
    char **names = NULL;
    SAE_TRY(sae_dir_list(path, &names, err));
    int rc = SAE_OK;
    for (char **n = names; *n && rc == SAE_OK; n++) {
        char *child = sae_path_join(path, *n);
        rc = child ? remove_tree(child, err)
                   : SAE_SET(err, SAE_ENOMEM, "%s: out of memory", path);
        sae_free(child);
    }
    sae_names_free(&names);
    if (rc == SAE_OK && rmdir(path) < 0)
        rc = SAE_SET(err, SAE_EIO, "%s: cannot remove: %s", path, strerror(errno));
    return rc;
}

int sae_dir_remove(const char *path, sae_err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0 && errno == ENOENT)
        return SAE_OK;
    return remove_tree(path, err);
}

/* rename() does not replace a directory that has entries: the old one steps aside, and comes back
 * if the new one cannot take its place. */
int sae_dir_rename(const char *from, const char *to, sae_err *err)
{
    char *old = sae_strfmt("%s.tmp.%ld.old", to, (long)getpid());
    if (!old)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", to);
    int rc = sae_dir_remove(old, err), aside = sae_file_exists(to); /* of a failed removal */
    if (rc < 0)
        sae_fail_prefix(err, rc, "%s: cannot replace", to);
    else if (aside && (io_fault() || rename(to, old)))
        rc = SAE_SET(err, SAE_EIO, "%s: cannot replace: %s", to, strerror(errno));
    else if (io_fault() || rename(from, to)) {
        rc = SAE_SET(err, SAE_EIO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
        if (aside && rename(old, to))
            sae_fail_prefix(err, rc, "%s is now %s", to, old);
    } else {
        if (aside)
            rc = sae_dir_remove(old, err);
        sync_parent(old); /* which lies beside `to` */
    }
    sae_free(old);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(char ***names, size_t *count, size_t *cap, const char *name)
{
    if (*count + 1 >= *cap) {
        size_t want = *cap ? 2 * *cap : 16;
        char **grown = sae_realloc(*names, want * sizeof **names);
        if (!grown)
            return SAE_ENOMEM;
        *names = grown;
        *cap = want;
    }
    char *copy = sae_strdup(name);
    if (!copy)
        return SAE_ENOMEM;
    (*names)[(*count)++] = copy; /* the rest is zero: the list stays terminated */
    return SAE_OK;
}

int sae_dir_list(const char *path, char ***names, sae_err *err)
{
    *names = NULL;
    DIR *d = opendir(path);
    if (!d)
        SAE_FAIL(err, SAE_EIO, "%s: cannot list: %s", path, strerror(errno));
    size_t count = 0, cap = 16;
    int rc = sae_new(names, (int64_t)cap, sizeof **names, "file.names", err);
    for (struct dirent *e; rc == SAE_OK && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (add_name(names, &count, &cap, e->d_name) < 0)
            rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", path);
    }
    closedir(d);
    if (rc < 0)
        sae_names_free(names);
    else
        qsort(*names, count, sizeof **names, by_name);
    return rc;
}

void sae_names_free(char ***names)
{
    for (char **n = *names; n && *n; n++)
        sae_free(*n);
    sae_free(*names);
    *names = NULL;
}

char *sae_path_join(const char *a, const char *b)
{
    if (!*a || *b == '/')
        return sae_strdup(b);
    return sae_strfmt("%s%s%s", a, a[strlen(a) - 1] == '/' ? "" : "/", b);
}
