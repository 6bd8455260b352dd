/* tests/fuzz/fuzz_admission.c - descriptors made of random bytes: admission answers, and what it
 * accepts can be configured, printed and laid out.
 *
 * The bytes choose every field; pointers are chosen from valid ones, because a descriptor with wild
 * pointers is a wrong program, not a wrong descriptor.
 */
#include "core/memory.h"
#include "core/model.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_ROWS = 30 };

typedef struct bytes {
    const uint8_t *p;
    size_t left;
} bytes;

static unsigned next(bytes *b)
{
    if (!b->left)
        return 0;
    b->left--;
    return *b->p++;
}

static const char *text(bytes *b)
{
    static const char *const texts[] = {"k",     "l1",  "W_enc", "b_enc", "W_dec", "b_dec",
                                        "n",     "",    NULL,    "probe", "A b",   "x1",
                                        "mse",   "help", "1",    "y"};
    return texts[next(b) % 16];
}

static double number(bytes *b)
{
    static const double numbers[] = {0, 1, -1, 0.5, 32, 1e300, -1e300, 2, 3, 65536, 1e-9, 9e15};
    unsigned i = next(b) % 16;
    return i < 12 ? numbers[i] : i == 12 ? (double)NAN : i == 13 ? (double)INFINITY : (double)i;
}

static void fill_options(bytes *b, sae_option table[MAX_ROWS + 1])
{
    static const char *const odd[] = {"a b", NULL}, *const none[] = {NULL};
    static const char *const *const enums[] = {NULL, probe_modes, odd, none};
    unsigned rows = next(b) % MAX_ROWS;
    for (unsigned i = 0; i < rows; i++) {
        sae_option *o = &table[i];
        o->name = text(b);
        o->type = (enum sae_opt_type)(next(b) % 7);
        o->flags = next(b) % 3;
        o->off = next(b) % 16 == 15 ? SIZE_MAX - next(b) : next(b);
        o->def = number(b);
        o->lo = number(b);
        o->hi = number(b);
        o->enums = enums[next(b) % 4];
        o->sdef = text(b);
        o->unit = text(b);
        o->help = text(b);
    }
}

static void fill_tensors(bytes *b, sae_tensor_spec table[MAX_ROWS + 1])
{
    unsigned rows = next(b) % MAX_ROWS;
    for (unsigned i = 0; i < rows; i++) {
        sae_tensor_spec *t = &table[i];
        t->name = text(b);
        t->role = (enum sae_role)(next(b) % 4);
        t->dtype = (enum sae_dtype)(next(b) % 6);
        t->flags = next(b) % 16;
        t->rows = (int64_t)(next(b) % 12) - 6;
        t->cols = next(b) % 16 == 15 ? INT64_MAX : (int64_t)(next(b) % 12) - 6;
    }
}

static void require(int ok)
{
    if (!ok)
        abort();
}

/* An admitted variant keeps its promises to the rest of the suite. */
static void use(const sae_variant *v)
{
    sae_opts *o = NULL;
    require(v->caps_for && v->needs && v->check && v->backward && v->adapt && v->finalize);
    require(sae_opts_open(&o, v->options, v->opt_size, NULL) == SAE_OK);
    char *printed = sae_opts_print(o, 1), *brief = sae_opts_print(o, 0);
    require(printed && brief && !*brief);
    sae_free(printed);
    sae_free(brief);
    sae_opts_close(&o);
    const sae_dims dims = {8, 8, 64, 64};
    require(sae_model_bytes(v, &dims, 1) >= sae_model_bytes(v, &dims, 0));
}

/* The probe variant with some of its parts replaced. Tables live in *t. */
typedef struct tables {
    sae_option options[MAX_ROWS + 1];
    sae_tensor_spec tensors[MAX_ROWS + 1];
    const char *losses[12];
} tables;

static sae_variant make(bytes *b, tables *t)
{
    sae_variant v = probe_variant;
    unsigned change = next(b);
    if (change & 1)
        v.name = text(b);
    if (change & 2)
        v.caps = (uint64_t)1 << (next(b) % 64);
    if (change & 4)
        v.size = next(b) % 2 ? (uint32_t)next(b) * 2 : (uint32_t)sizeof v;
    if (change & 8) {
        v.opt_size = next(b);
        fill_options(b, t->options);
        v.options = t->options;
    }
    if (change & 16) {
        fill_tensors(b, t->tensors);
        v.tensors = t->tensors;
    }
    if (change & 32) {
        for (unsigned i = 0, rows = next(b) % 12; i < rows; i++)
            t->losses[i] = text(b);
        v.losses = t->losses;
    }
    if (change & 64) {
        v.train.lr = number(b);
        v.train.beta1 = number(b);
        v.train.clip_norm = number(b);
        v.train.decay = number(b);
    }
    if (change & 128)
        v.backward = NULL;
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = {data, size};
    size_t live = sae_alloc_live();
    tables t;
    memset(&t, 0, sizeof t);
    sae_variant v = make(&b, &t), out;
    sae_err err = {0};
    int rc = sae_admit_variant(&v, &out, &err);
    require(rc == err.code && (rc == SAE_OK || err.msg[0]));
    if (rc == SAE_OK)
        use(&out);
    require(sae_alloc_live() == live);
    return 0;
}
