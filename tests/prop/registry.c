/* tests/prop/registry.c - admission refuses every broken descriptor; plug-ins come in whole. */
#include "core/file.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/registry.h"
#include "core/spec.h"
#include "support/probe.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one broken thing at a time -------------------------------------------------------------- */

static sae_option opts[8];
static sae_tensor_spec tensors[SAE_MAX_TENSOR + 2];
static const char *losses[SAE_MAX_LOSS + 2];

static sae_variant fresh_variant(void)
{
    sae_variant v = probe_variant;
    memcpy(opts, probe_options, sizeof probe_options);
    memset(tensors, 0, sizeof tensors);
    memcpy(tensors, probe_tensors, sizeof probe_tensors);
    memset(losses, 0, sizeof losses);
    memcpy(losses, probe_losses, sizeof probe_losses);
    v.options = opts;
    v.tensors = tensors;
    v.losses = losses;
    return v;
}

static void expect_refused(const sae_variant *v, int code, const char *says)
{
    sae_err err = {0};
    sae_variant out;
    int rc = sae_admit_variant(v, &out, &err);
    ck_assert_msg(rc == code, "status %d where \"%s\" was expected: %s", rc, says, err.msg);
    ck_assert_msg(strstr(err.msg, says), "\"%s\" does not say \"%s\"", err.msg, says);
    ck_assert_ptr_nonnull(strstr(err.msg, "variant"));
}

#define BREAK(code, says, change)                                                                  \
    do {                                                                                           \
        sae_variant v = fresh_variant();                                                           \
        change;                                                                                    \
        expect_refused(&v, code, says);                                                            \
    } while (0)

START_TEST(broken_heads)
{
    BREAK(SAE_EABI, "ABI version 7", v.abi = 7);
    BREAK(SAE_EABI, "bytes", v.size = sizeof v + 1);
    BREAK(SAE_EABI, "bytes", v.size = 8);
    BREAK(SAE_EABI, "bytes", v.size = offsetof(sae_variant, source) + 4);
    BREAK(SAE_EINVAL, "name", v.name = NULL);
    BREAK(SAE_EINVAL, "name", v.name = "");
    BREAK(SAE_EINVAL, "name", v.name = "TopK");
    BREAK(SAE_EINVAL, "name", v.name = "a b");
    BREAK(SAE_EINVAL, "name", v.name = "a234567890123456789012345678901234567890x");
    BREAK(SAE_EINVAL, "probe: summary", v.summary = "");
    BREAK(SAE_EINVAL, "probe: source", v.source = NULL);
    BREAK(SAE_EINVAL, "bits 0x10000000000", v.caps |= UINT64_C(1) << 40);
    BREAK(SAE_EINVAL, "mandatory", v.workspace = NULL);
    BREAK(SAE_EINVAL, "mandatory", v.init = NULL);
    BREAK(SAE_EINVAL, "mandatory", v.forward = NULL);
    BREAK(SAE_EINVAL, "mandatory", v.decode = NULL);
    BREAK(SAE_EINVAL, "no backward", v.backward = NULL);
    BREAK(SAE_EINVAL, "lr", v.train.lr = 0);
    BREAK(SAE_EINVAL, "beta1", v.train.beta1 = 1);
    BREAK(SAE_EINVAL, "eps", v.train.eps = -1);
    BREAK(SAE_EINVAL, "clip", v.train.clip_norm = -1);
    BREAK(SAE_EINVAL, "decay", v.train.decay = 1.5);
}
END_TEST

START_TEST(broken_options)
{
    static const char *const twice[] = {"a", "a", NULL}, *const odd[] = {"a,b", "c", "d", NULL};
    BREAK(SAE_EINVAL, "opt_size", v.opt_size = 0);
    BREAK(SAE_EINVAL, "neither n nor preset", opts[0].name = "n");
    BREAK(SAE_EINVAL, "key is", opts[0].name = "K");
    BREAK(SAE_EINVAL, "lr is listed twice", opts[0].name = "lr");
    BREAK(SAE_EINVAL, "type", opts[0].type = (enum sae_opt_type)9);
    BREAK(SAE_EINVAL, "flags", opts[0].flags = SAE_OPT_SCHED);
    BREAK(SAE_EINVAL, "flags", opts[1].flags = 4);
    BREAK(SAE_EINVAL, "offset", opts[0].off = 4);
    BREAK(SAE_EINVAL, "offset", opts[0].off = sizeof(probe_opt));
    BREAK(SAE_EINVAL, "offset", opts[0].off = SIZE_MAX - 7);
    BREAK(SAE_EINVAL, "same offset", opts[1].off = opts[0].off);
    BREAK(SAE_EINVAL, "help", opts[0].help = NULL);
    BREAK(SAE_EINVAL, "unit", opts[0].unit = "");
    BREAK(SAE_EINVAL, "default", opts[0].def = -1);
    BREAK(SAE_EINVAL, "default", opts[0].def = (double)NAN);
    BREAK(SAE_EINVAL, "default", opts[0].lo = (double)NAN);
    BREAK(SAE_EINVAL, "default", (opts[1].def = opts[1].hi = (double)INFINITY));
    BREAK(SAE_EINVAL, "integer", opts[0].def = 1.5);
    BREAK(SAE_EINVAL, "switch", opts[3].hi = 2);
    BREAK(SAE_EINVAL, "ENUM", opts[4].enums = NULL);
    BREAK(SAE_EINVAL, "ENUM", opts[0].enums = probe_modes);
    BREAK(SAE_EINVAL, "3 names", opts[4].hi = 3);
    BREAK(SAE_EINVAL, "a is listed twice", opts[4].enums = twice);
    BREAK(SAE_EINVAL, "a,b", opts[4].enums = odd);
}
END_TEST

START_TEST(broken_tensors)
{
    BREAK(SAE_EINVAL, "no tensor table", v.tensors = NULL);
    BREAK(SAE_EINVAL, "a name", tensors[0].name = "1x");
    BREAK(SAE_EINVAL, "theta is listed twice", tensors[5].name = "theta");
    BREAK(SAE_EINVAL, "role", tensors[0].role = (enum sae_role)0);
    BREAK(SAE_EINVAL, "type", tensors[4].dtype = (enum sae_dtype)9);
    BREAK(SAE_EINVAL, "type", tensors[4].role = SAE_PARAM);
    BREAK(SAE_EINVAL, "flags", tensors[0].flags = 1u << 9);
    BREAK(SAE_EINVAL, "flags", tensors[4].flags = SAE_T_UNIT_ROWS);
    BREAK(SAE_EINVAL, "extents", tensors[4].rows = 0);
    BREAK(SAE_EINVAL, "extents", tensors[4].cols = -5);
    BREAK(SAE_EINVAL, "n x d_in", tensors[0].cols = SAE_DIM_OUT);
    BREAK(SAE_EINVAL, "1 x n", tensors[1].rows = 2);
    BREAK(SAE_EINVAL, "growing axis",
          (v.caps |= SAE_CAP_GROWS, tensors[5].rows = 3, tensors[5].cols = SAE_DIM_N));
    static const sae_saelens nameless = {.threshold = "theta"};
    static const sae_saelens wrong = {.architecture = "standard", .threshold = "tau"};
    BREAK(SAE_EINVAL, "architecture", v.saelens = &nameless);
    BREAK(SAE_EINVAL, "no tensor: tau", v.saelens = &wrong);
    BREAK(SAE_EINVAL, "no loss table", v.losses = NULL);
    BREAK(SAE_EINVAL, "loss \"M\"", losses[0] = "M");
    BREAK(SAE_EINVAL, "l1 is listed twice", losses[0] = "l1");
    static char name[SAE_MAX_TENSOR + 1][16];
    sae_variant v = fresh_variant();
    for (int i = 0; i <= SAE_MAX_TENSOR; i++) {
        snprintf(name[i], sizeof name[i], "t%d", i);
        tensors[i] = (sae_tensor_spec){name[i], SAE_STATE, SAE_F64, 0, 1, 1};
    }
    expect_refused(&v, SAE_EINVAL, "more than 24 tensors");
    v = fresh_variant();
    for (int i = 0; i <= SAE_MAX_LOSS; i++)
        losses[i] = name[i];
    expect_refused(&v, SAE_EINVAL, "more than 8 losses");
}
END_TEST

START_TEST(completed)
{
    sae_err err = {0};
    sae_variant v = fresh_variant(), out;
    const sae_tensor_spec state_only[] = {{"hits", SAE_STATE, SAE_U64, 0, SAE_DIM_N, 1}, {0}};
    v.tensors = state_only;
    v.backward = NULL;
    v.options = NULL;
    v.train = (sae_train_defaults){0};
    /* What an older header did not have is zero in the copy. */
    v.size = offsetof(sae_variant, tensor_flags);
    v.tensor_flags = (uint32_t (*)(const void *, const sae_tensor_spec *))(void (*)(void))abort;
    ck_assert_ok(sae_admit_variant(&v, &out, &err), err);
    ck_assert_uint_eq(out.size, sizeof out);
    ck_assert(out.tensor_flags == NULL);
    ck_assert_ptr_null(out.options[0].name);
    ck_assert_uint_eq(sae_caps(&out, NULL), SAE_CAP_LINEAR_DEC);
    ck_assert_uint_eq(out.needs(NULL, SAE_TRAIN), 0);
    ck_assert_int_eq(out.check(NULL, NULL, NULL), SAE_OK);
    ck_assert_int_eq(out.backward(NULL, NULL, NULL, NULL), SAE_OK);
    ck_assert_int_eq(out.adapt(NULL, NULL, NULL, NULL), SAE_OK);
    ck_assert_int_eq(out.finalize(NULL, NULL), SAE_OK);
    ck_assert_double_eq(out.flops(NULL, NULL, 1, SAE_TRAIN), 0);
}
END_TEST

START_TEST(broken_metrics_and_datasets)
{
    sae_metric m = probe_metric, mo;
    sae_dataset d = probe_dataset, dn;
    sae_err err = {0};
    ck_assert_ok(sae_admit_metric(&m, &mo, &err), err);
    ck_assert_ok(sae_admit_dataset(&d, &dn, &err), err);
    ck_assert_int_eq(dn.truth(NULL, SAE_SPLIT_TRAIN, 0, 0, NULL, NULL), SAE_ENEEDS);
    ck_assert_int_eq(dn.lm(NULL, NULL), SAE_ENEEDS);
    m.needs = 1u << 20;
    ck_assert_int_eq(sae_admit_metric(&m, &mo, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "metric gauge: unknown bits"));
    m = probe_metric;
    m.merge = NULL;
    ck_assert_int_eq(sae_admit_metric(&m, &mo, NULL), SAE_EINVAL);
    m = probe_metric;
    m.abi++;
    ck_assert_int_eq(sae_admit_metric(&m, &mo, NULL), SAE_EABI);
    m = probe_metric;
    m.needs |= SAE_MNEED_PEER; /* without saying which pairs */
    ck_assert_int_eq(sae_admit_metric(&m, &mo, NULL), SAE_EINVAL);
    err = (sae_err){0};
    d.licence = "";
    ck_assert_int_eq(sae_admit_dataset(&d, &dn, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "dataset well: licence"));
    d = probe_dataset;
    d.gives |= SAE_GIVES_TRUTH;
    ck_assert_int_eq(sae_admit_dataset(&d, &dn, NULL), SAE_EINVAL);
    d = probe_dataset;
    d.gives |= SAE_GIVES_LM;
    ck_assert_int_eq(sae_admit_dataset(&d, &dn, NULL), SAE_EINVAL);
    d = probe_dataset;
    d.gives |= SAE_GIVES_LABELS;
    ck_assert_int_eq(sae_admit_dataset(&d, &dn, NULL), SAE_EINVAL);
    d = probe_dataset;
    d.fill = NULL;
    ck_assert_int_eq(sae_admit_dataset(&d, &dn, NULL), SAE_EINVAL);
}
END_TEST

static void thaw_nothing(sae_device *dev, const sae_real *w)
{
    (void)dev, (void)w;
}

static void *no_memory(sae_device *dev, size_t bytes)
{
    (void)dev, (void)bytes;
    return NULL;
}

START_TEST(broken_backends)
{
    sae_backend b = {.abi = SAE_BACKEND_ABI, .size = sizeof b, .name = "none", .summary = "none"};
    sae_backend out;
    ck_assert_int_eq(sae_admit_backend(&b, &out, NULL), SAE_EINVAL);
    b = *sae_list_backends[0];
    ck_assert_int_eq(sae_admit_backend(&b, &out, NULL), SAE_OK);
    b.thaw = thaw_nothing; /* without freeze */
    ck_assert_int_eq(sae_admit_backend(&b, &out, NULL), SAE_EINVAL);
    b = *sae_list_backends[0];
    b.alloc_host = no_memory; /* without release_host */
    ck_assert_int_eq(sae_admit_backend(&b, &out, NULL), SAE_EINVAL);
    b = *sae_list_backends[0];
    b.after = NULL; /* share without it */
    ck_assert_int_eq(sae_admit_backend(&b, &out, NULL), SAE_EINVAL);
    b.share = NULL;
    ck_assert_int_eq(sae_admit_backend(&b, &out, NULL), SAE_OK);
}
END_TEST

static void check_shares(const sae_backend *be)
{
    sae_device *dev[3] = {NULL};
    sae_err err = {0};
    for (int i = 0; i < 3; i++)
        ck_assert_ok(be->open(&dev[i], i, 1, &err), err);
    ck_assert_ok(be->share(dev[0], dev + 1, 2, &err), err);
    ck_assert_int_eq(be->after(dev[1], dev[2]), SAE_OK);
    ck_assert_int_eq(be->share(dev[0], dev, 1, &err), SAE_EINVAL); /* itself */
    ck_assert_int_eq(be->share(dev[0], (sae_device *[]){dev[1], dev[1]}, 2, NULL), SAE_EINVAL);
    ck_assert_int_eq(err.code, SAE_EINVAL);
    for (int i = 3; i-- > 0;)
        be->close(&dev[i]);
}

/* The backends in the program compute on the host, whose memory all of their devices share. */
START_TEST(host_devices_share)
{
    for (int i = 0; sae_list_backends[i]; i++)
        check_shares(sae_list_backends[i]);
}
END_TEST

/* ---- the registry ---------------------------------------------------------------------------- */

static sae_registry *open_registry(void)
{
    sae_err err = {0};
    sae_registry *reg = NULL;
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    return reg;
}

/* A preset's text parses and the variant takes it. */
static void check_preset(const sae_registry *reg, const sae_variant *v, const sae_preset *p)
{
    sae_err err = {0};
    sae_spec s;
    char text[128];
    sae_dims dim = {64, 64, 512, 512};
    snprintf(text, sizeof text, "%s:preset=%s", v->name, p->name);
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, text, &err), err);
    ck_assert_ptr_eq(s.preset, p);
    ck_assert_ok(v->check(sae_opts_base(s.opts), &dim, &err), err);
    sae_spec_free(&s);
}

START_TEST(in_tree)
{
    sae_registry *reg = open_registry();
    const sae_variant *const *v = sae_all_variants(reg);
    for (int i = 0; v[i]; i++) {
        ck_assert(i == 0 || strcmp(v[i - 1]->name, v[i]->name) < 0);
        ck_assert_ptr_eq(sae_find_variant(reg, v[i]->name), v[i]);
        for (const sae_preset *p = v[i]->presets; p && p->name; p++)
            check_preset(reg, v[i], p);
    }
    const sae_backend *const *b = sae_all_backends(reg);
    for (int i = 1; b[i]; i++)
        ck_assert_int_ge(b[i - 1]->score(), b[i]->score());
    ck_assert_ptr_nonnull(sae_find_backend(reg, "ref"));
    ck_assert_ptr_null(sae_find_variant(reg, "no_such_variant"));
    ck_assert_ptr_null(sae_find_metric(reg, ""));
    ck_assert_ptr_null(sae_find_dataset(reg, "ref"));
    sae_registry_close(&reg);
    ck_assert_ptr_null(reg);
    sae_registry_close(&reg);
    ck_assert_uint_eq(sae_alloc_live(), 0);
}
END_TEST

/* A plug-in whose last component is bad leaves nothing behind. */
START_TEST(all_or_nothing)
{
    sae_registry *reg = open_registry();
    sae_err err = {0};
    sae_plugin p = probe_plugin;
    sae_dataset bad = probe_dataset;
    const sae_dataset *const datasets[] = {&probe_dataset, &bad, NULL};
    bad.name = "dry";
    bad.fill = NULL;
    p.datasets = datasets;
    size_t live = sae_alloc_live();
    ck_assert_int_eq(sae_registry_add(reg, &p, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "dataset dry"));
    ck_assert_ptr_null(sae_find_variant(reg, "probe"));
    ck_assert_uint_eq(sae_alloc_live(), live);
    for (uint64_t i = 1; i < 40; i++) {
        err = (sae_err){0};
        sae_alloc_fail_at(i);
        int rc = sae_registry_add(reg, &probe_plugin, &err);
        sae_alloc_fail_at(0);
        if (rc == SAE_OK)
            break;
        ck_assert_int_eq(rc, SAE_ENOMEM);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
    ck_assert_ptr_nonnull(sae_find_variant(reg, "probe"));
    ck_assert_ptr_nonnull(sae_find_dataset(reg, "well"));
    err = (sae_err){0};
    ck_assert_int_eq(sae_registry_add(reg, &probe_plugin, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "probe exists already"));
    sae_registry_close(&reg);
    ck_assert_uint_eq(sae_alloc_live(), 0);
}
END_TEST

/* ---- shared objects -------------------------------------------------------------------------- */

static const char plugin_head[] =
    "#include \"support/probe.h\"\n#include <math.h>\n"
    "#define ENTRY __attribute__((visibility(\"default\"))) const sae_plugin *sae_plugin_entry\n";

/* Compile `body` into DIR/NAME.so; 0 if this machine has no compiler. */
static int compile(const char *name, const char *body, char *so, size_t room)
{
    char c[300], command[900];
    sae_err err = {0};
    snprintf(c, sizeof c, "%s/%s.c", test_dir(), name);
    snprintf(so, room, "%s/%s.so", test_dir(), name);
    char *text = sae_strfmt("%s%s", plugin_head, body);
    ck_assert_ok(sae_file_write(c, text, strlen(text), &err), err);
    sae_free(text);
    snprintf(command, sizeof command,
             "cc -std=c11 -shared -fPIC -Isuite/include -Itests -o %s %s -lm", so, c);
    return system(command) == 0;
}

START_TEST(plugins)
{
    static const struct {
        const char *name, *body;
        int code;
        const char *says;
    } cases[] = {
        {"good", "ENTRY(uint32_t abi) { (void)abi; return cos(1) > 0 ? &probe_plugin : 0; }",
         SAE_OK, ""},
        {"again", "ENTRY(uint32_t abi) { (void)abi; return &probe_plugin; }", SAE_EINVAL,
         "exists already"},
        {"silent", "int other(void) { return 1; }", SAE_EFORMAT, "sae_plugin_entry"},
        {"null", "ENTRY(uint32_t abi) { (void)abi; return 0; }", SAE_EABI, "ABI version"},
        {"future", "ENTRY(uint32_t abi) { static sae_plugin p; p.abi = abi + 1; return &p; }",
         SAE_EABI, "ABI version 2"},
        {"nameless",
         "ENTRY(uint32_t abi) { static sae_plugin p; p = probe_plugin; p.licence = 0; "
         "(void)abi; return &p; }",
         SAE_EINVAL, "licence"},
        {"foreign",
         "int sae_fail(void); ENTRY(uint32_t abi) { return sae_fail() + abi ? &probe_plugin : 0; }",
         SAE_EABI, "undefined symbol sae_fail"},
    };
    sae_registry *reg = open_registry();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char so[300];
        if (!compile(cases[i].name, cases[i].body, so, sizeof so)) {
            test_skip("no C compiler (cc) for plug-ins");
            break;
        }
        sae_err err = {0};
        const sae_plugin *p = NULL;
        int rc = sae_registry_plugin(reg, so, &p, &err);
        ck_assert_msg(rc == cases[i].code, "%s: status %d: %s", cases[i].name, rc, err.msg);
        ck_assert_msg(strstr(err.msg, cases[i].says), "%s: %s", cases[i].name, err.msg);
        ck_assert(rc == SAE_OK || strncmp(err.msg, so, strlen(so)) == 0);
        ck_assert(rc < 0 || strcmp(p->name, "probe") == 0);
    }
    sae_registry_close(&reg);
    ck_assert_uint_eq(sae_alloc_live(), 0);
}
END_TEST

START_TEST(damaged_objects)
{
    sae_registry *reg = open_registry();
    sae_err err = {0};
    char *path = sae_path_join(test_dir(), "x.so");
    unsigned char elf[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    const struct {
        size_t bytes;
        unsigned char type;
        const char *says;
    } cases[] = {{0, 0, "not a 64-bit ELF"},
                 {63, 3, "not a 64-bit ELF"},
                 {64, 2, "not a shared object"},
                 {64, 3, "no dynamic symbol table"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        err = (sae_err){0};
        elf[16] = cases[i].type;
        elf[58] = 64; /* e_shentsize */
        elf[60] = 9;  /* e_shnum: more than there is */
        elf[40] = 32; /* e_shoff */
        ck_assert_ok(sae_file_write(path, elf, cases[i].bytes, &err), err);
        ck_assert_int_eq(sae_registry_plugin(reg, path, NULL, &err), SAE_EFORMAT);
        ck_assert_msg(strstr(err.msg, cases[i].says), "%s", err.msg);
    }
    err = (sae_err){0};
    ck_assert_int_eq(sae_registry_plugin(reg, "no-such-file.so", NULL, &err), SAE_EIO);
    sae_free(path);
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_registry(void)
{
    Suite *s = suite_create("registry");
    TCase *c = tcase_create("registry");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, broken_heads);
    tcase_add_test(c, broken_options);
    tcase_add_test(c, broken_tensors);
    tcase_add_test(c, completed);
    tcase_add_test(c, broken_metrics_and_datasets);
    tcase_add_test(c, broken_backends);
    tcase_add_test(c, host_devices_share);
    tcase_add_test(c, in_tree);
    tcase_add_test(c, all_or_nothing);
    tcase_add_test(c, plugins);
    tcase_add_test(c, damaged_objects);
    suite_add_tcase(s, c);
    return s;
}
