/* suite/cli/open.h - what several commands open from their common options. */
#ifndef SAE_CLI_OPEN_H
#define SAE_CLI_OPEN_H

#include "cli/args.h"
#include "core/model.h"
#include "core/registry.h"
#include "core/safetensors.h"
#include <sae/lm.h>

#include <jansson.h>

#define CLI_PLUGIN {"plugin", "FILE.so", "load components from a plug-in first; may be repeated"}
#define CLI_DEVICE                                                                                 \
    {"device", "NAME", "cpu, cuda:1, cuda:1,tf32, cuda:0-3,divided (default: the best)"}
#define CLI_THREADS {"threads", "N", "worker threads (default: all processors)"}
#define CLI_JSON {"json", NULL, "print JSON"}
#define CLI_TOKENIZER {"tokenizer", "FILE", "tokenizer (default: the one beside the weights)"}
#define CLI_MODEL_TEXT                                                                             \
    "MODEL is a directory with config.json and safetensors, a bare safetensors file, a llama2.c\n" \
    ".bin file, or @organism, the model inside the program.\n"

/* The in-tree components and every --plugin. */
int cli_open_registry(const cli_args *a, sae_registry **reg, sae_err *err);
/* The backend of --device, where the command has it, with --threads. */
int cli_open_engine(const cli_args *a, const sae_registry *reg, sae_engine *e, sae_err *err);

/* f32, f16 or bf16; `def` when not given. */
int cli_dtype(const cli_args *a, const char *name, enum sae_st_dtype def, enum sae_st_dtype *out,
              sae_err *err);

/* A language model on the best backend: the first word, --tokenizer and --threads. */
typedef struct cli_model { /* starts as {0} */
    sae_registry *reg;
    sae_engine e;
    sae_lm *lm;
} cli_model;
int cli_open_model(const cli_args *a, cli_model *m, sae_err *err);
void cli_close_model(cli_model *m); /* also after a failure */

/* Print and release a JSON value. */
int cli_print_json(json_t *j, sae_err *err);

#endif
