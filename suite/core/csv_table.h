/* suite/core/csv_table.h - CSV tables, RFC 4180 through libcsv. */
#ifndef SAE_CORE_CSV_TABLE_H
#define SAE_CORE_CSV_TABLE_H

#include "file.h"

/* Writer. Fields of a row are given one after another, then sae_csv_end_row. Text is always quoted,
 * numbers never; missing values are empty. Errors (also a row of another length than the header)
 * are kept and returned by flush and close. */
typedef struct sae_csv sae_csv;

int sae_csv_open(sae_csv **c, const char *path, const char *header, sae_err *err); /* "a,b,c" */
/* Grow a file in place (loss.csv): cut to `keep` data rows first, made if absent and keep is 0.
 * SAE_EFORMAT if it has another header or fewer rows. */
int sae_csv_append(sae_csv **c, const char *path, const char *header, int64_t keep, sae_err *err);
void sae_csv_text(sae_csv *c, const char *s);  /* NULL: empty field */
void sae_csv_real(sae_csv *c, double v);       /* shortest round-trip; NaN: empty field */
void sae_csv_int(sae_csv *c, int64_t v);
void sae_csv_end_row(sae_csv *c);
int sae_csv_flush(sae_csv *c, sae_err *err);
/* Always frees. A file from sae_csv_open gets its name only if everything was written. */
int sae_csv_close(sae_csv **c, sae_err *err);
void sae_csv_abandon(sae_csv **c);             /* NULL-safe */

/* Reader: the whole table in memory. Strict RFC 4180, LF or CRLF; a byte-order mark is skipped. */
typedef struct sae_table {
    int64_t rows, cols;
    char **head; /* [cols] all different */
    char **cell; /* [rows * cols], row-major, never NULL */
    void *block;
} sae_table;

/* SAE_EFORMAT: broken quotes, rows of another length than the header, no header, NUL bytes. */
int sae_table_open(sae_table *t, const char *path, sae_err *err);
void sae_table_close(sae_table *t);
int64_t sae_table_col(const sae_table *t, const char *name); /* -1 when absent */
const char *sae_table_cell(const sae_table *t, int64_t row, const char *col); /* "" when absent */
/* NaN when absent, empty or not a number. */
double sae_table_real(const sae_table *t, int64_t row, const char *col);

#endif
