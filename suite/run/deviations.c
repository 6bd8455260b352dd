/* suite/run/deviations.c - how every row of metrics.csv moves when documents are left out. */
#include "run/deviations.h"

#include "core/error.h"

#include <string.h>

int sae_deviations_open(sae_deviations *d, const char *path, sae_err *err)
{
    *d = (sae_deviations){0};
    return sae_out_open(&d->out, path, err);
}

static int flush(sae_deviations *d, sae_err *err)
{
    if (!d->waiting)
        return SAE_OK;
    d->waiting = 0;
    return sae_out_write(&d->out, d->row, sizeof d->row, err);
}

int sae_deviations_next(sae_deviations *d, sae_err *err)
{
    SAE_TRY(flush(d, err));
    for (int64_t g = 0; g < SAE_GROUPS; g++)
        d->row[g] = NAN;
    d->waiting = 1;
    return SAE_OK;
}

void sae_deviations_set(sae_deviations *d, const double *deviation)
{
    for (int64_t g = 0; g < SAE_GROUPS; g++)
        d->row[g] = (float)deviation[g];
}

int sae_deviations_commit(sae_deviations *d, sae_err *err)
{
    SAE_TRY(flush(d, err));
    return sae_out_commit(&d->out, err);
}

void sae_deviations_abandon(sae_deviations *d)
{
    sae_out_abandon(&d->out);
}

/* NumPy's format, version 1.0: magic, version, length of the text, the text padded with blanks so
 * that the data begin at a multiple of 64, and a line break. */
int sae_deviations_header(sae_out *out, int64_t rows, sae_err *err)
{
    enum { BYTES = 128, TEXT = BYTES - 10 };
    char head[BYTES + 1];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    head[8] = TEXT;
    head[9] = 0;
    int n =
        snprintf(head + 10, TEXT, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }",
                 (long long)rows, SAE_GROUPS);
    head[10 + n] = ' ';
    head[BYTES - 1] = '\n';
    return sae_out_write(out, head, BYTES, err);
}
