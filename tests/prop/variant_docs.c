/* tests/prop/variant_docs.c - what variants/<name>.md says can be typed: every spec string in
 * backquotes parses, and every variant has its file with the sections that all have. */
#include "core/file.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/spec.h"
#include "support/support.h"

#include <string.h>

static void check_spec(sae_registry *reg, const char *file, const char *text)
{
    sae_spec spec;
    sae_err err = {0};
    int rc = sae_spec_parse(&spec, reg, SAE_KIND_VARIANT, text, &err);
    ck_assert_msg(rc == SAE_OK, "%s: `%s`: %s", file, text, err.msg);
    sae_spec_free(&spec);
}

/* Spec strings of the variant: `name:...` in backquotes on one line. */
static int check_text(sae_registry *reg, const char *file, const char *name, char *text)
{
    int found = 0;
    size_t length = strlen(name);
    for (char *p = strchr(text, '`'); p; p = strchr(p + 1, '`')) {
        char *end = strpbrk(p + 1, "`\n");
        if (!end || *end == '\n')
            continue;
        *end = '\0';
        if (strncmp(p + 1, name, length) == 0 && p[1 + length] == ':') {
            check_spec(reg, file, p + 1);
            found++;
        }
        p = end;
    }
    return found;
}

START_TEST(specs_parse)
{
    const char *name = sae_list_variants[_i]->name;
    char *file = sae_strfmt("variants/%s.md", name);
    sae_registry *reg = NULL;
    sae_map map;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_map_open(&map, file, &err), err);
    char *text = sae_strfmt("%.*s", (int)map.bytes, (const char *)map.p);
    check_text(reg, file, name, text);
    sae_free(text);
    sae_free(file);
    sae_map_close(&map);
    sae_registry_close(&reg);
}
END_TEST

START_TEST(has_every_section)
{
    static const char *const needed[] = {"\n## Equations\n", "\n## Options\n", "\n## Readings\n",
                                         "\n## Cost\n",      "\n## Parity\n",  "eproduced here"};
    char *file = sae_strfmt("variants/%s.md", sae_list_variants[_i]->name);
    sae_map map;
    sae_err err = {0};
    ck_assert_ok(sae_map_open(&map, file, &err), err);
    char *text = sae_strfmt("%.*s", (int)map.bytes, (const char *)map.p);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        ck_assert_msg(strstr(text, needed[i]) != NULL, "%s: no %s", file,
                      needed[i] + strspn(needed[i], "\n"));
    sae_free(text);
    sae_free(file);
    sae_map_close(&map);
}
END_TEST

/* The first test would pass on files without any spec string. */
START_TEST(specs_are_found)
{
    sae_registry *reg = NULL;
    sae_err err = {0};
    char text[] = "a `topk:k=3` b `relu:l1=1`\n`topk:k=4,auxk=0`, `topk`";
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_int_eq(check_text(reg, "text", "topk", text), 2);
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_variant_docs(void);
Suite *suite_variant_docs(void)
{
    Suite *s = suite_create("variant documentation");
    TCase *t = tcase_create("pages");
    int count = 0;
    while (sae_list_variants[count])
        count++;
    tcase_add_loop_test(t, specs_parse, 0, count);
    tcase_add_loop_test(t, has_every_section, 0, count);
    tcase_add_test(t, specs_are_found);
    suite_add_tcase(s, t);
    return s;
}
