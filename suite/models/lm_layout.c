/* suite/models/lm_layout.c - how tensors of files store parts of a model. */
#include "models/lm_weights.h"

void sae_lm_layout_of(sae_lm_layout *l, const sae_lm_config *c, enum sae_lm_part p,
                      enum sae_lm_form form)
{
    int vector = sae_lm_part_is_vector(p);
    int64_t rows, cols;
    sae_lm_part_shape(c, p, &rows, &cols);
    *l = (sae_lm_layout){.form = form, .rows = rows, .cols = cols, .head = c->head};
    if (vector) {
        l->rows = cols;
        l->cols = 1;
    }
    int64_t thirds = form >= SAE_LM_THIRD_Q ? 3 : 1;
    int swapped = form == SAE_LM_TRANSPOSED || (form >= SAE_LM_THIRD_Q && form <= SAE_LM_THIRD_V);
    l->rank = vector ? 1 : 2;
    l->shape[0] = thirds * l->rows;
    l->shape[1] = l->cols;
    if (swapped && !vector) {
        l->shape[0] = l->cols;
        l->shape[1] = thirds * l->rows;
    }
}

/* (in, 3 out): the columns of q, of k, of v. */
static int64_t of_third(const sae_lm_layout *l, int64_t e, int64_t which)
{
    int64_t in = e / (3 * l->rows), out = e % (3 * l->rows);
    return out / l->rows == which ? out % l->rows * l->cols + in : -1;
}

/* (heads x (q, k, v) x head, in) */
static int64_t of_mixed(const sae_lm_layout *l, int64_t e, int64_t which)
{
    int64_t r = e / l->cols, group = r / l->head;
    return group % 3 == which ? (group / 3 * l->head + r % l->head) * l->cols + e % l->cols : -1;
}

int64_t sae_lm_layout_element(const sae_lm_layout *l, int64_t e)
{
    int64_t r = e / l->cols, i = r % l->head;
    switch (l->form) {
    case SAE_LM_PLAIN:
    case SAE_LM_MINUS_ONE: break;
    case SAE_LM_ADJACENT: return (r - i + i % 2 * (l->head / 2) + i / 2) * l->cols + e % l->cols;
    case SAE_LM_TRANSPOSED: return e % l->rows * l->cols + e / l->rows;
    case SAE_LM_THIRD_Q: return of_third(l, e, 0);
    case SAE_LM_THIRD_K: return of_third(l, e, 1);
    case SAE_LM_THIRD_V: return of_third(l, e, 2);
    case SAE_LM_MIXED_Q: return of_mixed(l, e, 0);
    case SAE_LM_MIXED_K: return of_mixed(l, e, 1);
    case SAE_LM_MIXED_V: return of_mixed(l, e, 2);
    }
    return e;
}
