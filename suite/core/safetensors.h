/* suite/core/safetensors.h - the safetensors container: u64 header length, JSON header, data.
 *
 * The reader maps the file and validates everything before it returns: header length within the
 * file and the 100 MB limit of the format, known dtypes, shapes whose product does not overflow,
 * offsets that match shape x dtype, tile the data section without holes or overlaps, and lie inside
 * the file. Errors name file, tensor and field, expected and found.
 */
#ifndef SAE_CORE_SAFETENSORS_H
#define SAE_CORE_SAFETENSORS_H

#include "file.h"

enum { SAE_ST_MAX_RANK = 8, SAE_ST_SHAPE_TEXT = 8 * 22 };

enum sae_st_dtype { SAE_ST_F32, SAE_ST_F64, SAE_ST_F16, SAE_ST_BF16, SAE_ST_I64, SAE_ST_I32,
                    SAE_ST_I16, SAE_ST_I8, SAE_ST_U64, SAE_ST_U32, SAE_ST_U16, SAE_ST_U8,
                    SAE_ST_BOOL };

typedef struct sae_st_tensor {
    const char *name;  /* owned by the reader */
    enum sae_st_dtype dtype;
    int rank;
    int64_t shape[SAE_ST_MAX_RANK];
    int64_t count;     /* product of shape; 1 for rank 0 */
    const void *data;  /* mapped; may be unaligned for its type */
    size_t bytes;
} sae_st_tensor;

typedef struct sae_st sae_st;

int sae_st_open(sae_st **st, const char *path, sae_err *err);
/* The same of a container in memory, borrowed until close; `name` stands for the path. */
int sae_st_open_bytes(sae_st **st, const char *name, const void *p, size_t bytes, sae_err *err);
void sae_st_close(sae_st **st);
int64_t sae_st_count(const sae_st *st);
const sae_st_tensor *sae_st_at(const sae_st *st, int64_t i);
const sae_st_tensor *sae_st_find(const sae_st *st, const char *name); /* NULL when absent */
const char *sae_st_meta(const sae_st *st, const char *key); /* __metadata__ entry or NULL */
/* The tensor, checked: SAE_EFORMAT naming file and tensor if absent or of another shape. A negative
 * extent matches anything. */
int sae_st_need(const sae_st *st, const char *name, int rank, const int64_t *shape,
                const sae_st_tensor **out, sae_err *err);
/* count elements from `first` on as float, from F32, F64, F16, BF16; SAE_EFORMAT for other dtypes;
 * SAE_EFORMAT naming the tensor and index if `finite` is set and a value is NaN or Inf. */
int sae_st_floats(const sae_st *st, const sae_st_tensor *t, int64_t first, int64_t count,
                  int finite, float *out, sae_err *err);

const char *sae_st_path(const sae_st *st); /* for messages */

size_t sae_st_dtype_size(enum sae_st_dtype t);
const char *sae_st_dtype_name(enum sae_st_dtype t); /* "F32", ... */
/* "[64, 512]" for messages; a negative extent prints as "any". */
const char *sae_st_shape_text(int rank, const int64_t *shape, char out[SAE_ST_SHAPE_TEXT]);
/* Convert count values of dtype F32, F64, F16 or BF16 (unaligned source allowed). */
void sae_st_to_f32(enum sae_st_dtype t, const void *src, int64_t count, float *dst);
void sae_st_from_f32(enum sae_st_dtype t, const float *src, int64_t count, void *dst);

/* Writer: declare all tensors, then begin, then write the data in declaration order. */
typedef struct sae_st_writer sae_st_writer;

int sae_st_writer_open(sae_st_writer **w, const char *path, sae_err *err);
int sae_st_writer_meta(sae_st_writer *w, const char *key, const char *value, sae_err *err);
int sae_st_writer_add(sae_st_writer *w, const char *name, enum sae_st_dtype t, int rank,
                      const int64_t *shape, sae_err *err);
/* Writes the header; the data section starts at a multiple of 64 bytes. */
int sae_st_writer_begin(sae_st_writer *w, sae_err *err);
int sae_st_writer_data(sae_st_writer *w, const void *p, size_t bytes, sae_err *err);
/* SAE_EINVAL if less data was written than declared. Always frees; a failure leaves no file. */
int sae_st_writer_commit(sae_st_writer **w, sae_err *err);
void sae_st_writer_abandon(sae_st_writer **w); /* NULL-safe */

#endif
