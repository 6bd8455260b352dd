/* suite/models/docs.h - documents of a text file as token contexts. */
#ifndef SAE_MODELS_DOCS_H
#define SAE_MODELS_DOCS_H

#include <sae/dataset.h>

/* Cut the UTF-8 file at every line that equals `separator` ("": the file is one document), strip
 * ASCII white space at both ends, drop empty documents, put BOS first, cut to the model's context.
 * At most `limit` documents (0: all). doc[] numbers the non-empty documents from 0. A file without
 * any document is SAE_EFORMAT, as is invalid UTF-8 (with the byte offset in the file). A separator
 * that no line equals is a warning in the log. */
int sae_docs_open(const sae_lm *lm, const char *path, const char *separator, int64_t limit,
                  sae_docs **docs, sae_err *err);
/* The same for training: a document that exceeds the model's context goes on in further contexts,
 * each with BOS first and the same number in doc[]. */
int sae_docs_open_windows(const sae_lm *lm, const char *path, const char *separator,
                          sae_docs **docs, sae_err *err);
void sae_docs_close(sae_docs **docs); /* NULL-safe; sets *docs to NULL */
/* Bytes of text behind the scored tokens of all documents (for bits per byte): the whole stripped
 * text of a document that fits, the part before the cut of one that does not. */
int64_t sae_docs_bytes(const sae_docs *docs);

#endif
