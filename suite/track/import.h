/* suite/track/import.h - measurements into the store: one transaction per run, twice is once. */
#ifndef SAE_TRACK_IMPORT_H
#define SAE_TRACK_IMPORT_H

#include "track/readings.h"
#include "track/store.h"

typedef struct sae_import { /* what the files do not say; NULL or 0: take it from them */
    const char *branch;     /* NULL: "main" */
    const char *kind;       /* nightly, ab, bisect, manual, calibration; NULL: nightly */
    const char *status;     /* ok, failed, quarantined; NULL: ok */
    const char *git;        /* commit that was measured */
    const char *host;       /* name of the machine */
    const char *binary;     /* sha256 of the program */
    int64_t commit_time;    /* of a commit that the store does not know; 0: when it ran */
    int64_t peer;           /* run on the other side of an A/B pair; 0: none */
} sae_import;

/* Store a batch as one run; *run is its id. SAE_DONE: it was there already (same sources,
 * commit, kind, branch and machine), nothing changed. SAE_EINVAL: no commit or no machine is named
 * anywhere. */
int sae_import_readings(sae_store *s, const sae_readings *b, const sae_import *how, int64_t *run,
                        sae_err *err);

/* Runs of another store that this one lacks; *runs: how many were added. */
int sae_import_store(sae_store *s, const char *path, int64_t *runs, sae_err *err);

/* A commit that the branch does not know stands where its time puts it; a taken place moves it on.
 * Places of sae_import_commits are times too, so both mix. *seq: its place. */
int sae_import_commit(sae_store *s, const char *branch, const char *sha, const char *parent,
                      int64_t at, int64_t *seq, sae_err *err);

/* Place of the commit whose name begins so; a whole name comes first. SAE_EINVAL: the branch has
 * none, or several. */
int sae_commit_find(sae_store *s, const char *branch, const char *sha, int64_t *seq, sae_err *err);

/* The order of the commits of a branch: lines "SHA [PARENT...] TIME", oldest first, as
 * `git log --reverse --first-parent --format='%H %P %ct'` prints them. Known commits keep their
 * place; SAE_EFORMAT when the lines contradict it. *added: new ones. */
int sae_import_commits(sae_store *s, const char *branch, const char *text, size_t bytes,
                       int64_t *added, sae_err *err);

/* Points of a run from its samples; for code that changes samples. */
int sae_import_points(sae_store *s, int64_t run, sae_err *err);

#endif
