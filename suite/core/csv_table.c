/* suite/core/csv_table.c - CSV tables through libcsv.
 *
 * libcsv reports fields and rows by callback, does not notice ragged rows, skips empty lines, and
 * finds an unterminated quote only at csv_fini with CSV_STRICT_FINI.
 */
#include "core/csv_table.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/options.h"

#include <csv.h>
#include <math.h>
#include <string.h>

/* ---- reader ---------------------------------------------------------------------------------- */

typedef struct reader {
    const char *path;
    const unsigned char *p; /* after the byte-order mark */
    size_t bytes;
    int64_t fields, records;    /* seen, records complete */
    int64_t cols, in_row;       /* cols: fields of the first record */
    int64_t ragged, ragged_has; /* first record of another length (1: the header), 0: none */
    char **cell;                /* second pass: where fields go, else NULL */
    char *text;
} reader;

static void on_field(void *data, size_t len, void *arg)
{
    reader *r = arg;
    if (r->cell) {
        if (len) /* data may be NULL otherwise */
            memcpy(r->text, data, len);
        r->text[len] = '\0';
        r->cell[r->fields] = r->text;
        r->text += len + 1;
    }
    r->fields++;
    r->in_row++;
}

static void on_record(int end, void *arg)
{
    (void)end;
    reader *r = arg;
    r->records++;
    if (r->records == 1)
        r->cols = r->in_row;
    if (r->in_row != r->cols && !r->ragged) {
        r->ragged = r->records;
        r->ragged_has = r->in_row;
    }
    r->in_row = 0;
}

static int no_space(unsigned char c)
{
    (void)c;
    return 0;
}

static void *csv_grow(void *p, size_t bytes)
{
    return sae_realloc(p, bytes);
}

static int parser_open(struct csv_parser *p, sae_err *err)
{
    if (csv_init(p, CSV_STRICT | CSV_STRICT_FINI))
        SAE_FAIL(err, SAE_ENOMEM, "libcsv cannot start");
    csv_set_space_func(p, no_space); /* blanks belong to fields */
    csv_set_realloc_func(p, csv_grow);
    csv_set_free_func(p, sae_free);
    return SAE_OK;
}

static int parse_failed(const reader *r, struct csv_parser *p, size_t at, sae_err *err)
{
    if (csv_error(p) != CSV_EPARSE)
        SAE_FAIL(err, SAE_ENOMEM, "%s: %s", r->path, csv_strerror(csv_error(p)));
    long line = 1;
    for (size_t i = 0; i + 1 < at; i++)
        line += r->p[i] == '\n';
    SAE_FAIL(err, SAE_EFORMAT, "%s: line %ld: expected RFC 4180, found a stray or open quote",
             r->path, line);
}

/* Run the whole text through the callbacks. */
static int parse(reader *r, sae_err *err)
{
    struct csv_parser p;
    r->fields = r->records = r->in_row = 0;
    SAE_TRY(parser_open(&p, err));
    int rc = SAE_OK;
    size_t used = r->bytes ? csv_parse(&p, r->p, r->bytes, on_field, on_record, r) : 0;
    /* csv_fini after an error would hand over half a field. */
    if (used < r->bytes || csv_fini(&p, on_field, on_record, r))
        rc = parse_failed(r, &p, used, err);
    csv_free(&p);
    return rc;
}

static int check_shape(const reader *r, sae_err *err)
{
    if (r->ragged)
        SAE_FAIL(err, SAE_EFORMAT, "%s: row %lld: expected %lld fields, found %lld", r->path,
                 (long long)(r->ragged - 1), (long long)r->cols, (long long)r->ragged_has);
    if (!r->records)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected a header, found no text", r->path);
    return SAE_OK;
}

static int check_head(const sae_table *t, const char *path, sae_err *err)
{
    for (int64_t i = 0; i < t->cols; i++)
        if (sae_table_col(t, t->head[i]) != i)
            SAE_FAIL(err, SAE_EFORMAT, "%s: column \"%.80s\" appears twice", path, t->head[i]);
    return SAE_OK;
}

/* The text of all fields fits in bytes + 1: every field gives up a delimiter for its terminator,
 * except the last of a file that does not end in one. */
static int read_cells(sae_table *t, reader *r, sae_err *err)
{
    size_t cells, text;
    SAE_TRY(sae_size_mul(&cells, r->fields, sizeof(char *), err));
    SAE_TRY(sae_size_add(&text, r->bytes, 1, err));
    SAE_TRY(sae_size_add(&text, text, cells, err));
    SAE_TRY(sae_new(&t->block, (int64_t)text, 1, "csv.table", err));
    r->cell = t->block;
    r->text = (char *)t->block + cells;
    SAE_TRY(parse(r, err));
    t->cols = r->cols;
    t->rows = r->records - 1;
    t->head = r->cell;
    t->cell = r->cell + t->cols;
    return check_head(t, r->path, err);
}

static int reader_open(reader *r, sae_map *m, const char *path, sae_err *err)
{
    *r = (reader){.path = path};
    SAE_TRY(sae_map_open(m, path, err));
    int bom = m->bytes >= 3 && !memcmp(m->p, "\xef\xbb\xbf", 3);
    r->bytes = m->bytes - (bom ? 3 : 0);
    r->p = m->p ? m->p + (bom ? 3 : 0) : m->p;
    const unsigned char *nul = r->bytes ? memchr(r->p, 0, r->bytes) : NULL;
    if (nul)
        SAE_FAIL(err, SAE_EFORMAT, "%s: expected text, found a NUL byte at offset %zu", path,
                 (size_t)(nul - m->p));
    return SAE_OK;
}

int sae_table_open(sae_table *t, const char *path, sae_err *err)
{
    sae_map m = {0};
    reader r;
    int rc;
    *t = (sae_table){0};
    SAE_GOTO(reader_open(&r, &m, path, err));
    SAE_GOTO(parse(&r, err));
    SAE_GOTO(check_shape(&r, err));
    SAE_GOTO(read_cells(t, &r, err));
fail:
    sae_map_close(&m);
    if (rc < 0)
        sae_table_close(t);
    return rc;
}

void sae_table_close(sae_table *t)
{
    sae_free(t->block);
    *t = (sae_table){0};
}

int64_t sae_table_col(const sae_table *t, const char *name)
{
    for (int64_t i = 0; i < t->cols; i++)
        if (!strcmp(t->head[i], name))
            return i;
    return -1;
}

const char *sae_table_cell(const sae_table *t, int64_t row, const char *col)
{
    int64_t j = sae_table_col(t, col);
    return j < 0 || row < 0 || row >= t->rows ? "" : t->cell[row * t->cols + j];
}

double sae_table_real(const sae_table *t, int64_t row, const char *col)
{
    double v;
    return sae_real_parse(sae_table_cell(t, row, col), &v) < 0 ? (double)NAN : v;
}

/* ---- writer ---------------------------------------------------------------------------------- */

struct sae_csv {
    sae_out out;
    int64_t cols, in_row, rows;
    int blank;    /* the row has no text so far */
    sae_err kept; /* first error of a row */
};

static int64_t count_columns(const char *header)
{
    int64_t n = 1;
    for (const char *c = header; *c; c++)
        n += *c == ',';
    return n;
}

static int writer_new(sae_csv **c, const char *header, sae_err *err)
{
    *c = NULL;
    SAE_TRY(sae_new(c, 1, sizeof **c, "csv.writer", err));
    (*c)->cols = count_columns(header);
    (*c)->blank = 1;
    return SAE_OK;
}

static int write_header(sae_csv *c, const char *header, sae_err *err)
{
    SAE_TRY(sae_out_write(&c->out, header, strlen(header), err));
    return sae_out_write(&c->out, "\n", 1, err);
}

int sae_csv_open(sae_csv **c, const char *path, const char *header, sae_err *err)
{
    SAE_TRY(writer_new(c, header, err));
    int rc = sae_out_open(&(*c)->out, path, err);
    if (rc >= 0)
        rc = write_header(*c, header, err);
    if (rc < 0)
        sae_csv_abandon(c);
    return rc;
}

/* Where data row `keep` starts. Fed byte by byte, since libcsv does not tell positions; a torn row
 * behind it (the program was killed) does not matter. */
static int find_row(const char *path, const char *header, int64_t keep, size_t *at, sae_err *err)
{
    sae_map m = {0};
    struct csv_parser p;
    reader r;
    int rc;
    size_t len = strlen(header);
    *at = 0;
    SAE_GOTO(reader_open(&r, &m, path, err));
    if (r.bytes <= len || memcmp(r.p, header, len) || r.p[len] != '\n') {
        rc = SAE_SET(err, SAE_EFORMAT, "%s: expected the header %.200s", path, header);
        goto fail;
    }
    SAE_GOTO(parser_open(&p, err));
    while (r.records <= keep && *at < r.bytes &&
           csv_parse(&p, r.p + *at, 1, on_field, on_record, &r) == 1)
        ++*at;
    csv_free(&p);
    if (r.records <= keep)
        rc = SAE_SET(err, SAE_EFORMAT, "%s: expected at least %lld rows, found %lld", path,
                     (long long)keep, (long long)(r.records - 1));
    *at += m.bytes - r.bytes;
fail:
    sae_map_close(&m);
    return rc;
}

/* A file of no rows; never a piece of a header, which a later append would refuse. */
static int make_empty(const char *path, const char *header, sae_err *err)
{
    char *text = sae_strfmt("%s\n", header);
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    int rc = sae_file_write(path, text, strlen(text), err);
    sae_free(text);
    return rc;
}

int sae_csv_append(sae_csv **c, const char *path, const char *header, int64_t keep, sae_err *err)
{
    *c = NULL;
    size_t at;
    int rc;
    if (keep == 0 && sae_file_size(path) <= 0)
        SAE_TRY(make_empty(path, header, err));
    SAE_TRY(find_row(path, header, keep, &at, err));
    SAE_GOTO(writer_new(c, header, err));
    SAE_GOTO(sae_out_append(&(*c)->out, path, (int64_t)at, err));
    return SAE_OK;
fail:
    sae_csv_abandon(c);
    return rc;
}

static void separate(sae_csv *c)
{
    if (c->in_row++)
        fputc(',', c->out.f);
}

void sae_csv_text(sae_csv *c, const char *s)
{
    separate(c);
    if (s) {
        csv_fwrite(c->out.f, s, strlen(s));
        c->blank = 0;
    }
}

void sae_csv_real(sae_csv *c, double v)
{
    separate(c);
    if (isnan(v))
        return;
    char *text = sae_real_print(v);
    if (text)
        fputs(text, c->out.f);
    else
        SAE_SET(&c->kept, SAE_ENOMEM, "%s: out of memory", c->out.path);
    sae_free(text);
    c->blank = 0;
}

void sae_csv_int(sae_csv *c, int64_t v)
{
    separate(c);
    fprintf(c->out.f, "%lld", (long long)v);
    c->blank = 0;
}

void sae_csv_end_row(sae_csv *c)
{
    c->rows++;
    if (c->in_row != c->cols)
        SAE_SET(&c->kept, SAE_EINVAL, "%s: row %lld: the header has %lld fields, %lld were given",
                c->out.path, (long long)c->rows, (long long)c->cols, (long long)c->in_row);
    if (c->blank && c->cols == 1)
        fputs("\"\"", c->out.f); /* readers skip empty lines */
    fputc('\n', c->out.f);
    c->in_row = 0;
    c->blank = 1;
}

static int kept_error(const sae_csv *c, sae_err *err)
{
    return c->kept.code ? SAE_SET(err, c->kept.code, "%s", c->kept.msg) : SAE_OK;
}

int sae_csv_flush(sae_csv *c, sae_err *err)
{
    SAE_TRY(kept_error(c, err));
    return sae_out_flush(&c->out, err);
}

int sae_csv_close(sae_csv **c, sae_err *err)
{
    int rc = kept_error(*c, err);
    if (rc >= 0)
        rc = sae_out_commit(&(*c)->out, err);
    sae_csv_abandon(c);
    return rc;
}

void sae_csv_abandon(sae_csv **c)
{
    if (!*c)
        return;
    sae_out_abandon(&(*c)->out);
    sae_free(*c);
    *c = NULL;
}
