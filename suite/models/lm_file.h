/* suite/models/lm_file.h - open a language model from disk.
 *
 * path: a Hugging Face directory (config.json, and model.safetensors or the files that
 * model.safetensors.index.json names), a *.safetensors whose metadata names the extents or a
 * directory with that one file, or a llama2.c .bin file. tokenizer: a llama2.c tokenizer.bin, a
 * tokenizer.json, or "" for the one beside the weights (none there: tokenize() fails with a clear
 * error, everything else works). "@NAME" is a model that the program carries inside itself
 * (datasets/NAME/model), with its tokenizer.
 */
#ifndef SAE_MODELS_LM_FILE_H
#define SAE_MODELS_LM_FILE_H

#include "models/lm_weights.h"
#include "models/tokenizer.h"
#include <sae/lm.h>

/* What `at` names is borrowed for the life of the model. */
int sae_lm_open(sae_lm **lm, const char *path, const char *tokenizer, sae_lm_place at,
                sae_err *err);
/* A new model: described by a config.json, weights from `src`; tokenizer "": none. */
int sae_lm_open_new(sae_lm **lm, const char *config, const char *tokenizer,
                    const sae_lm_source *src, sae_lm_place at, sae_err *err);
void sae_lm_close(sae_lm **lm);
/* 1: two names of one place; resid_post.L is resid_pre.(L + 1). */
int sae_lm_same_hook(const char *a, const char *b);
const sae_tokenizer *sae_lm_tokenizer(const sae_lm *lm); /* NULL: it has none */

#endif
