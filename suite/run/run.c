/* suite/run/run.c - the course of a run. */
#include "run/run.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "report/report.h"
#include "run/session.h"
#include "train/sae_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the run directory ---------------------------------------------------------------------- */

/* First line in which two identities differ, for the message. */
static int identity_differs(const char *found, const char *expected, const char *dir, sae_err *err)
{
    while (*found && *expected) {
        size_t f = strcspn(found, "\n"), x = strcspn(expected, "\n");
        if (f != x || memcmp(found, expected, f))
            SAE_FAIL(err, SAE_EINVAL,
                     "--resume: %s belongs to another run: it has \"%.*s\", this plan \"%.*s\"",
                     dir, (int)(f < 150 ? f : 150), found, (int)(x < 150 ? x : 150), expected);
        found += f + (found[f] == '\n');
        expected += x + (expected[x] == '\n');
    }
    if (*found || *expected)
        SAE_FAIL(err, SAE_EINVAL, "--resume: %s belongs to a run with other SAEs", dir);
    return SAE_OK;
}

static int check_identity(const sae_session *s, const char *path, const char *identity,
                          sae_err *err)
{
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    char *found = sae_strfmt("%.*s", (int)m.bytes, (const char *)m.p);
    sae_map_close(&m);
    if (!found)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory reading %s", path);
    int rc = identity_differs(found, identity, s->dir, err);
    sae_free(found);
    return rc;
}

/* Waves are cut by the memory free when the run began; a resumed run keeps that cut. */
static int saved_memory(const char *path, size_t *bytes, sae_err *err)
{
    char text[32];
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    snprintf(text, sizeof text, "%.*s", (int)m.bytes, (const char *)m.p);
    *bytes = (size_t)strtoull(text, NULL, 10);
    sae_map_close(&m);
    return SAE_OK;
}

static int save_memory(const char *path, size_t bytes, sae_err *err)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%zu\n", bytes);
    return sae_file_write(path, text, (size_t)len, err);
}

/* The first files of a new run. A plan that does not fit is refused before anything is written; the
 * identity comes last, it says that the state can be continued. */
static int begin_state(sae_session *s, const char *memory, const char *path, const char *identity,
                       sae_err *err)
{
    size_t bytes = sae_memory_available() / 4 * 3;
    SAE_TRY(sae_grid_waves(&s->grid, bytes, err));
    SAE_TRY(sae_dir_make(s->state, err));
    s->began = 1;
    SAE_TRY(save_memory(memory, bytes, err));
    return sae_file_write(path, identity, strlen(identity), err);
}

static int continue_state(sae_session *s, const char *memory, const char *path,
                          const char *identity, sae_err *err)
{
    size_t bytes = 0;
    SAE_TRY(check_identity(s, path, identity, err));
    SAE_TRY(saved_memory(memory, &bytes, err));
    return sae_grid_waves(&s->grid, bytes, err);
}

static int open_dir(sae_session *s, const char *identity, sae_err *err)
{
    char *path = sae_path_join(s->state, "identity"), *memory = sae_path_join(s->state, "memory");
    char *finished = sae_path_join(s->dir, "run.json");
    int rc = path && memory && finished ? SAE_OK
                                        : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    int resuming = rc >= 0 && sae_file_exists(path);
    if (rc >= 0 && !s->o->resume && (resuming || sae_file_exists(finished)))
        rc = SAE_SET(err, SAE_EINVAL,
                     "%s holds a run already; give --resume to continue it or another --out",
                     s->dir);
    if (rc >= 0)
        rc = resuming ? continue_state(s, memory, path, identity, err)
                      : begin_state(s, memory, path, identity, err);
    sae_free(path);
    sae_free(memory);
    sae_free(finished);
    return rc;
}

/* A run that failed before its first checkpoint has nothing to continue: it leaves nothing, so that
 * the mended plan can have the same directory. */
static void forget(const sae_session *s)
{
    char **names = NULL;
    int started = 0;
    sae_err none = {0};
    if (!s->began || sae_dir_list(s->state, &names, &none) < 0)
        return;
    for (int i = 0; names[i]; i++)
        started |= strcmp(names[i], "identity") && strcmp(names[i], "memory") &&
                   strcmp(names[i], "wave-0000.loss.csv");
    sae_names_free(&names);
    if (started || sae_dir_remove(s->state, &none) < 0)
        return;
    remove(s->dir); /* if nothing else is in it */
}

/* ---- one wave ------------------------------------------------------------------------------- */

typedef struct wave {
    sae_learner *store;
    sae_learner **l; /* [count] pointers into store, as the trainer takes them */
    int64_t count, first;
    sae_csv *loss;
    sae_err *err; /* of the caller; the trainer's callbacks have none */
} wave;

static int wave_on_loss(void *arg, const sae_learner *l, double lr)
{
    sae_record_loss(((wave *)arg)->loss, l, lr);
    return SAE_OK;
}

static int wave_on_checkpoint(void *arg, int64_t step)
{
    const wave *w = arg;
    (void)step;
    return sae_csv_flush(w->loss, w->err);
}

static int open_job(sae_session *s, const sae_job *j, sae_learner *l, sae_err *err)
{
    sae_spec spec;
    SAE_TRY(sae_spec_parse(&spec, s->reg, SAE_KIND_VARIANT, j->spec, err));
    int rc = sae_spec_resolve(&spec, s->train.dim.d_in, err);
    if (rc >= 0)
        rc = sae_learner_open_team(l, &spec, j->seed, &j->entry->train, &s->train.dim, s->team,
                                   err);
    if (rc < 0) {
        sae_spec_free(&spec);
        return sae_fail_prefix(err, rc, "%s", j->spec);
    }
    return SAE_OK;
}

static int open_wave(sae_session *s, int64_t number, wave *w, sae_err *err)
{
    for (int64_t i = 0; i < s->grid.count; i++) {
        if (s->grid.job[i].wave != number)
            continue;
        if (w->count++ == 0)
            w->first = i;
    }
    SAE_TRY(sae_new(&w->store, w->count, sizeof *w->store, "run.learners", err));
    SAE_TRY(sae_new(&w->l, w->count, sizeof *w->l, "run.learners", err));
    for (int64_t i = 0; i < w->count; i++) {
        SAE_TRY(open_job(s, &s->grid.job[w->first + i], &w->store[i], err));
        w->l[i] = &w->store[i];
    }
    return SAE_OK;
}

static void close_wave(wave *w)
{
    sae_csv_abandon(&w->loss);
    for (int64_t i = 0; w->l && i < w->count && w->l[i]; i++)
        sae_learner_close(w->l[i]);
    sae_free(w->l);
    sae_free(w->store);
}

static int train_wave(sae_session *s, int64_t number, wave *w, sae_err *err)
{
    char *dir = sae_strfmt("%s/wave-%04lld", s->state, (long long)number);
    if (!dir)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a path");
    sae_trainer t = {.stream = &s->train,
                     .reg = s->reg,
                     .learner = w->l,
                     .count = w->count,
                     .steps = s->plan->steps,
                     .log_every = s->plan->log_every,
                     .checkpoint_every = s->plan->checkpoint_every,
                     .dir = dir,
                     .on_loss = wave_on_loss,
                     .on_checkpoint = wave_on_checkpoint,
                     .arg = w};
    int64_t step = 0;
    int rc = sae_trainer_resume(&t, &step, err);
    if (rc >= 0)
        rc = sae_record_loss_open(s, number, step, &w->loss, err);
    if (rc >= 0 && step > 0)
        sae_log(SAE_LOG_INFO, "run", "continuing at step %lld", (long long)step);
    if (rc >= 0)
        rc = sae_trainer_run(&t, err);
    if (rc >= 0)
        rc = sae_csv_close(&w->loss, err);
    sae_free(dir);
    return rc;
}

static int export_wave(const sae_session *s, const wave *w, sae_err *err)
{
    for (int64_t i = 0; i < w->count; i++) {
        char *dir = sae_strfmt("%s/saes/%s", s->dir, w->l[i]->id);
        int rc = dir ? sae_file_export(dir, w->l[i], &s->train, err)
                     : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
        sae_free(dir);
        SAE_TRY(rc);
    }
    return SAE_OK;
}

static int run_wave(sae_session *s, int64_t number, sae_err *err)
{
    if (sae_record_done(s, number))
        return SAE_OK;
    wave w = {.err = err};
    int rc = open_wave(s, number, &w, err);
    if (rc >= 0)
        rc = train_wave(s, number, &w, err);
    if (rc >= 0)
        rc = export_wave(s, &w, err);
    if (rc >= 0)
        rc = sae_record_wave(s, number, w.l, w.count, err);
    for (int64_t i = 0; rc >= 0 && i < w.count; i++)
        s->seconds[w.first + i] = w.l[i]->seconds;
    close_wave(&w);
    return rc;
}

/* ---- public --------------------------------------------------------------------------------- */

static int run_waves(sae_session *s, const char *identity, sae_err *err)
{
    SAE_TRY(sae_stream_constants(&s->train, err)); /* files of SAEs have them, with any norm */
    SAE_TRY(open_dir(s, identity, err));
    sae_log(SAE_LOG_INFO, "run",
            "%s: %lld SAE%s in %lld pass%s over the data, %lld steps of %lld rows", s->plan->name,
            (long long)s->grid.count, s->grid.count == 1 ? "" : "s", (long long)s->grid.waves,
            s->grid.waves == 1 ? "" : "es", (long long)s->plan->steps,
            (long long)s->plan->batch);
    for (int64_t i = 0; i < s->grid.waves; i++)
        SAE_TRY(run_wave(s, i, err));
    SAE_TRY(sae_record_join(s, err));
    return sae_facts_write(s, identity, err);
}

/* A run with its run.json is complete: what remains is to clear its state and to draw. */
static int run_open(sae_session *s, sae_err *err)
{
    char *identity = sae_session_identity(s);
    if (!identity)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory describing the run");
    int rc = s->o->resume ? sae_facts_find(s, identity, err) : SAE_OK;
    if (rc == SAE_DONE)
        sae_log(SAE_LOG_INFO, "run", "%s is complete", s->dir);
    else if (rc >= 0)
        rc = run_waves(s, identity, err);
    sae_free(identity);
    SAE_TRY(rc);
    SAE_TRY(sae_dir_remove(s->state, err));
    return s->o->no_report ? SAE_OK : sae_report_write(s->dir, NULL, err);
}

int sae_run(const sae_run_options *o, const sae_registry *reg, char **dir, sae_err *err)
{
    sae_session s;
    *dir = NULL;
    SAE_TRY(sae_session_open(&s, o, reg, err));
    *dir = sae_strdup(s.dir);
    int rc = run_open(&s, err);
    if (rc == SAE_EINTR)
        sae_fail_prefix(err, rc, "stopped; continue with --resume --out %s", s.dir);
    else if (rc < 0)
        forget(&s);
    sae_session_close(&s);
    return rc;
}
