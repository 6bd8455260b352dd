/* suite/core/number.c - numbers to text and back, the same in every locale. */
#include "core/options.h"

#include "core/memory.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 40 }; /* the longest text: sign, 17 digits, point, exponent */

/* strtod and printf read the decimal point from the locale; these calls run in the C locale. */
static locale_t enter_c_locale(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* static in glibc: never freed */
    return c ? uselocale(c) : (locale_t)0;
}

static void leave_c_locale(locale_t old)
{
    if (old)
        uselocale(old);
}

/* Cut "e-05" to "e-5" and "e+06" to "e6". */
static void tidy_exponent(char *s)
{
    char *e = strchr(s, 'e');
    char *digits = e + 2 + strspn(e + 2, "0");
    char *to = e[1] == '-' ? e + 2 : e + 1;
    if (!*digits)
        *e = '\0';
    else
        memmove(to, digits, strlen(digits) + 1);
}

/* The fewest digits that read back to v, in whichever notation is shorter; positional on a tie. */
static void shortest(double v, char out[ROOM])
{
    char plain[ROOM] = "";
    int digits = 1;
    while (snprintf(out, ROOM, "%.*e", digits - 1, v), strtod(out, NULL) != v)
        digits++;
    int exponent = (int)strtol(strchr(out, 'e') + 1, NULL, 10);
    tidy_exponent(out);
    if (exponent < -8 || exponent > 20)
        return;
    snprintf(plain, sizeof plain, "%.*f", exponent < digits - 1 ? digits - 1 - exponent : 0, v);
    if (strlen(plain) <= strlen(out) && strtod(plain, NULL) == v)
        memcpy(out, plain, ROOM);
}

char *sae_real_print(double v)
{
    char out[ROOM];
    if (isnan(v))
        return sae_strdup("nan");
    if (isinf(v))
        return sae_strdup(v > 0 ? "inf" : "-inf");
    locale_t old = enter_c_locale();
    shortest(v, out);
    leave_c_locale(old);
    return sae_strdup(out);
}

int sae_real_parse(const char *text, double *out)
{
    static const struct {
        const char *text;
        double v;
    } special[] = {{"nan", (double)NAN}, {"inf", HUGE_VAL}, {"-inf", -HUGE_VAL}};
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        if (strcmp(text, special[i].text) == 0) {
            *out = special[i].v;
            return SAE_OK;
        }
    }
    if (text[strspn(text, "0123456789+-.eE")])
        return SAE_EINVAL; /* no blanks, no hexadecimal, no other spelling of infinity */
    char *end = NULL;
    locale_t old = enter_c_locale();
    double v = strtod(text, &end);
    leave_c_locale(old);
    if (*end || end == text || isinf(v))
        return SAE_EINVAL;
    *out = v;
    return SAE_OK;
}

int sae_int_parse(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-');
    if (*digits && !digits[strspn(digits, "0123456789")]) {
        errno = 0;
        long long v = strtoll(text, NULL, 10);
        if (errno)
            return SAE_EINVAL;
        *out = v;
        return SAE_OK;
    }
    const double exact = 9007199254740992.0; /* 2^53: beyond, a real does not name one integer */
    double r = 0;
    if (sae_real_parse(text, &r) < 0 || !(fabs(r) <= exact) || r != floor(r))
        return SAE_EINVAL;
    *out = (int64_t)r;
    return SAE_OK;
}
