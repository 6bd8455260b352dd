/* suite/run/session.h - everything a run has open; shared by the files of suite/run. */
#ifndef SAE_RUN_SESSION_H
#define SAE_RUN_SESSION_H

#include "core/csv_table.h"
#include "run/grid.h"
#include "run/run.h"
#include "train/trainer.h"

typedef struct sae_session {
    const sae_run_options *o;
    const sae_registry *reg;
    sae_plan *plan;
    char *dir, *state; /* run directory and its state/ */
    int began;         /* this process began the state */
    sae_engine e[SAE_MAX_DEVICES]; /* the first one does all but training */
    int devices;
    sae_team *team; /* of all of them */
    sae_engine data; /* another handle of the first device, for a source that computes there */
    sae_host host;
    sae_spec train_spec, eval_spec;
    char *train_text, *eval_text; /* canonical dataset specs */
    char *hook, *target_hook;     /* of x and of targets; "" when the dataset has none */
    sae_stream train, eval;       /* eval is used when the plan names an eval_dataset */
    sae_grid grid;
    sae_spec *metric;     /* [metrics] */
    sae_spec **metric_at; /* [metrics] pointers into it, as the runner takes them */
    int64_t metrics;
    double *seconds; /* [grid.count] training time, for run.json */
} sae_session;

/* Open and validate everything before any file is written. */
int sae_session_open(sae_session *s, const sae_run_options *o, const sae_registry *reg,
                     sae_err *err);
void sae_session_close(sae_session *s);
sae_stream *sae_session_eval_stream(sae_session *s);

/* "key: value" lines that a resumed run must share with the interrupted one; caller frees. */
char *sae_session_identity(const sae_session *s);

/* ---- record.c: the CSV files ---------------------------------------------------------------- */

/* Path of wave's file: STATE/wave-0003.KIND.csv; caller frees. */
char *sae_record_path(const sae_session *s, int64_t wave, const char *kind);
extern const char *const sae_record_kinds[];   /* "saes", "loss", "metrics", ..., NULL */
extern const char *const sae_record_headers[]; /* in the same order */

/* Open wave's loss file, keeping the rows up to `step`. */
int sae_record_loss_open(sae_session *s, int64_t wave, int64_t step, sae_csv **c, sae_err *err);
void sae_record_loss(sae_csv *c, const sae_learner *l, double lr);
/* Write all but the losses of a trained wave: one pass over the evaluation rows. */
int sae_record_wave(sae_session *s, int64_t wave, sae_learner *const *l, int64_t count,
                    sae_err *err);
int sae_record_done(const sae_session *s, int64_t wave);
/* Join the files of all waves into DIR/KIND.csv and DIR/deviations.npy. */
int sae_record_join(const sae_session *s, sae_err *err);

/* ---- facts.c: run.json ----------------------------------------------------------------------- */

int sae_facts_write(const sae_session *s, const char *identity, sae_err *err);
/* SAE_DONE when the directory holds this run, finished; SAE_OK when it holds no finished run;
 * SAE_EINVAL when it holds another one. */
int sae_facts_find(const sae_session *s, const char *identity, sae_err *err);

#endif
