/* suite/core/csv_table.h - CSV tables, RFC 4180 through libcsv. */
#ifndef SAE_CORE_CSV_TABLE_H
#define SAE_CORE_CSV_TABLE_H

#include "file.h"

/* Writer. Fields of a row are given one after another, then sae_csv_end_row. */
typedef struct sae_csv sae_csv;

int sae_csv_open(sae_csv **c, const char *path, const char *header, sae_err *err); /* "a,b,c" */
/* Append to a file that is grown in place (loss.csv): truncated to `keep` data rows first. */
int sae_csv_append(sae_csv **c, const char *path, const char *header, int64_t keep, sae_err *err);
void sae_csv_text(sae_csv *c, const char *s);  /* NULL: empty field */
void sae_csv_real(sae_csv *c, double v);       /* shortest round-trip; NaN: empty field */
void sae_csv_int(sae_csv *c, int64_t v);
void sae_csv_end_row(sae_csv *c);
int sae_csv_flush(sae_csv *c, sae_err *err);
int sae_csv_close(sae_csv **c, sae_err *err);  /* commits a file from sae_csv_open */
void sae_csv_abandon(sae_csv **c);

/* Reader: the whole table in memory. */
typedef struct sae_table {
    int64_t rows, cols;
    char **head; /* [cols] */
    char **cell; /* [rows * cols], row-major, never NULL */
    void *block;
} sae_table;

int sae_table_open(sae_table *t, const char *path, sae_err *err); /* ragged rows: SAE_EFORMAT */
void sae_table_close(sae_table *t);
int64_t sae_table_col(const sae_table *t, const char *name); /* -1 when absent */
const char *sae_table_cell(const sae_table *t, int64_t row, const char *col); /* "" when absent */
double sae_table_real(const sae_table *t, int64_t row, const char *col); /* NaN when empty */

#endif
