/* suite/cli/corpus.h - documents from --data SPEC or --text FILE, for training and scoring. */
#ifndef SAE_CLI_CORPUS_H
#define SAE_CLI_CORPUS_H

#include "cli/open.h"
#include "core/spec.h"
#include "models/lm_corpus.h"

#define CLI_CORPUS                                                                                 \
    {"data", "SPEC", "a dataset that has documents of its own, e.g. organism"},                    \
        {"text", "FILE", "or: UTF-8 text"},                                                        \
        {"doc-separator", "STR", "line between documents of the text (default: it is one)"},       \
        {"eval-share", "X", "share of the text's contexts held out for evaluation (default 0.05)"}

typedef struct cli_corpus {
    sae_lm_corpus c;
    int64_t ctx, vocab; /* of the model that reads the documents */
    sae_spec spec; /* --data */
    sae_source *src;
    sae_docs *docs; /* --text */
    sae_lm_text *text;
    char *id;
} cli_corpus;

/* lm and e are borrowed; `seed` deals and orders the documents. */
int cli_corpus_open(cli_corpus *k, const cli_args *a, const sae_registry *reg, const sae_engine *e,
                    const sae_lm *lm, uint64_t seed, sae_err *err);
void cli_corpus_close(cli_corpus *k);

/* The labels of --data; SAE_EINVAL when the source has none. */
int cli_corpus_labels(const cli_corpus *k, const sae_label **table, int64_t *count, sae_err *err);
/* Which of them is called `name`; SAE_EINVAL lists them. */
int cli_label_find(const sae_label *table, int64_t count, const char *name, int64_t *which,
                   sae_err *err);

#endif
