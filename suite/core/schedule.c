/* suite/core/schedule.c - a real value that may follow the steps of a run. */
#include "core/schedule.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/options.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    int args;
} forms[] = {
    [SAE_SCHED_CONST] = {"", 1}, [SAE_SCHED_LIN] = {"lin", 4},   [SAE_SCHED_COS] = {"cos", 4},
    [SAE_SCHED_EXP] = {"exp", 4}, [SAE_SCHED_STEP] = {"step", 3},
};
enum { FORMS = sizeof forms / sizeof forms[0], ARG = 48 };

static int parse_value(double *out, const sae_option *o, const char *text, sae_err *err)
{
    if (sae_real_parse(text, out) < 0 || !isfinite(*out))
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\": \"%s\" is not a number%s (%s)", o->name, text,
                 o->flags & SAE_OPT_SCHED ? " or schedule lin, cos, exp, step" : "", o->help);
    if (!(*out >= o->lo && *out <= o->hi))
        return sae_opt_outside(o, text, err);
    return SAE_OK;
}

/* "2000" or "5%". */
static int parse_time(sae_sched_time *t, const sae_option *o, char *text, sae_err *err)
{
    size_t len = strlen(text);
    int64_t step = 0;
    t->percent = len > 0 && text[len - 1] == '%';
    if (t->percent) {
        text[len - 1] = '\0';
        if (sae_real_parse(text, &t->at) == SAE_OK && t->at >= 0 && t->at <= 100)
            return SAE_OK;
    } else if (sae_int_parse(text, &step) == SAE_OK && step >= 0) {
        t->at = (double)step;
        return SAE_OK;
    }
    SAE_FAIL(err, SAE_EINVAL,
             "key \"%s\": schedule time \"%s\" is neither a step nor a share of the run like 5%%",
             o->name, text);
}

/* Cut "(a,b,c)" into its parts; returns their number, 0 if malformed. */
static int split_args(const char *text, char arg[4][ARG])
{
    int count = 0;
    if (*text++ != '(')
        return 0;
    for (;;) {
        size_t len = strcspn(text, ",()");
        if (count == 4 || len == 0 || len >= ARG)
            return 0;
        memcpy(arg[count], text, len);
        arg[count++][len] = '\0';
        text += len;
        if (strcmp(text, ")") == 0)
            return count;
        if (*text++ != ',')
            return 0;
    }
}

static int parse_form(sae_sched *s, const sae_option *o, const char *text, sae_err *err)
{
    char arg[4][ARG];
    size_t word = strcspn(text, "(");
    int kind = SAE_SCHED_LIN;
    while (kind < FORMS &&
           (strlen(forms[kind].name) != word || strncmp(text, forms[kind].name, word) != 0))
        kind++;
    if (kind == FORMS)
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\": schedule \"%s\" is not lin, cos, exp or step",
                 o->name, text);
    if (split_args(text + word, arg) != forms[kind].args)
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\": \"%s\" is not %s", o->name, text,
                 kind == SAE_SCHED_STEP ? "step(from,to,step)" : "FORM(from,to,first,last)");
    s->kind = (enum sae_sched_kind)kind;
    SAE_TRY(parse_value(&s->a, o, arg[0], err));
    SAE_TRY(parse_value(&s->b, o, arg[1], err));
    SAE_TRY(parse_time(&s->t0, o, arg[2], err));
    s->t1 = s->t0;
    if (forms[kind].args == 4)
        SAE_TRY(parse_time(&s->t1, o, arg[3], err));
    if (kind == SAE_SCHED_EXP && !(s->a > 0 && s->b > 0))
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\": \"%s\" needs positive values", o->name, text);
    if (s->t0.percent == s->t1.percent && s->t0.at > s->t1.at)
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\": \"%s\" ends before it begins", o->name, text);
    return SAE_OK;
}

int sae_sched_parse(sae_sched *s, const sae_option *o, const char *text, sae_err *err)
{
    sae_sched made = {0};
    if (strchr(text, '(') && (o->flags & SAE_OPT_SCHED))
        SAE_TRY(parse_form(&made, o, text, err));
    else if (strchr(text, '('))
        SAE_FAIL(err, SAE_EINVAL, "key \"%s\" takes a number, not a schedule: \"%s\"", o->name,
                 text);
    else
        SAE_TRY(parse_value(&made.a, o, text, err));
    *s = made;
    return SAE_OK;
}

/* Shares fall on whole steps, so that a schedule means the same in every build. */
static double step_of(sae_sched_time t, int64_t steps)
{
    return t.percent ? round(t.at * (double)steps / 100.0) : t.at;
}

double sae_sched_at(const sae_sched *s, int64_t step, int64_t steps)
{
    if (s->kind == SAE_SCHED_CONST)
        return s->a;
    double now = (double)step, t0 = step_of(s->t0, steps), t1 = step_of(s->t1, steps);
    if (now >= t1)
        return s->b;
    if (now <= t0)
        return s->a;
    double u = (now - t0) / (t1 - t0), v = s->b;
    if (s->kind == SAE_SCHED_LIN)
        v = s->a + (s->b - s->a) * u;
    else if (s->kind == SAE_SCHED_COS)
        v = s->a + (s->b - s->a) * 0.5 * (1.0 - cos(3.14159265358979323846 * u));
    else if (s->kind == SAE_SCHED_EXP)
        v = s->a * pow(s->b / s->a, u);
    return fmax(fmin(s->a, s->b), fmin(fmax(s->a, s->b), v)); /* rounding stays in the range */
}

static void print_real(sae_text *out, double v)
{
    char *text = sae_real_print(v);
    if (text)
        sae_text_puts(out, text);
    else
        out->failed = 1;
    sae_free(text);
}

static void print_time(sae_text *out, sae_sched_time t)
{
    sae_text_putc(out, ',');
    print_real(out, t.at);
    if (t.percent)
        sae_text_putc(out, '%');
}

void sae_sched_print(const sae_sched *s, sae_text *out)
{
    sae_text_puts(out, forms[s->kind].name);
    if (s->kind != SAE_SCHED_CONST)
        sae_text_putc(out, '(');
    print_real(out, s->a);
    if (s->kind == SAE_SCHED_CONST)
        return;
    sae_text_putc(out, ',');
    print_real(out, s->b);
    print_time(out, s->t0);
    if (forms[s->kind].args == 4)
        print_time(out, s->t1);
    sae_text_putc(out, ')');
}
