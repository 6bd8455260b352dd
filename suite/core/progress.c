/* suite/core/progress.c - the progress line. */
#include "core/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int out_fd = -1;
static int on_terminal;

void sae_progress_to(int fd)
{
    out_fd = fd;
    on_terminal = fd >= 0 && isatty(fd);
}

/* "999", "12.3k", "4.56M": three digits at least, four at most. */
static void format_count(char *out, size_t room, double v)
{
    static const char unit[] = " kMGT";
    int u = 0;
    while (v >= 999.5 && u < 4) {
        v /= 1000;
        u++;
    }
    int decimals = u == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
    snprintf(out, room, "%.*f%.*s", decimals, v, u > 0, unit + u);
}

/* "5s", "3m20s", "2h05m". */
static void format_time(char *out, size_t room, double seconds)
{
    double s = fmin(fmax(round(seconds), 0), 359999);
    int h = (int)(s / 3600), m = (int)(fmod(s, 3600) / 60), r = (int)fmod(s, 60);
    if (h)
        snprintf(out, room, "%dh%02dm", h, m);
    else if (m)
        snprintf(out, room, "%dm%02ds", m, r);
    else
        snprintf(out, room, "%ds", r);
}

/* A line of its own, or on a terminal the same line again, cut to its width: a wrapped line could
 * not be redrawn. */
static void put(const char *text, int last)
{
    char line[400];
    struct winsize w = {0};
    int columns = 80;
    if (on_terminal && ioctl(out_fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 1)
        columns = w.ws_col;
    int len = on_terminal ? snprintf(line, sizeof line, "\r%.*s\033[K%s", columns - 1, text,
                                     last ? "\n" : "")
                          : snprintf(line, sizeof line, "%s\n", text);
    ssize_t n = write(out_fd, line, len < (int)sizeof line ? (size_t)len : sizeof line - 1);
    (void)n; /* decoration: if the terminal is gone, the work goes on */
}

static void draw(const sae_progress *p, double now, int last)
{
    enum { CELLS = 16 };
    char bar[CELLS + 1], text[320], done[16], total[16], rate[16], left[16];
    double share = p->total > 0 ? fmin(p->done / p->total, 1) : 0, spent = now - p->t0;
    double speed = spent > 0 ? (p->done - p->first) / spent : 0;
    format_count(done, sizeof done, p->done);
    format_count(total, sizeof total, fmax(p->total, p->done)); /* whole documents may be more */
    format_count(rate, sizeof rate, speed);
    double more = p->left >= 0 ? p->left : speed > 0 ? (p->total - p->done) / speed : 0;
    format_time(left, sizeof left, last ? spent : more);
    for (int i = 0; i < CELLS; i++)
        bar[i] = i < (int)(share * CELLS) ? '#' : '-';
    bar[CELLS] = '\0';
    snprintf(text, sizeof text, "%s %s%s%s%3d%% %s/%s %s, %s/s, %s %s%s%s", p->label,
             on_terminal ? "[" : "", on_terminal ? bar : "", on_terminal ? "]" : "",
             (int)(share * 100), done, total, p->unit, rate, left, last ? "in all" : "left",
             p->note[0] ? ", " : "", p->note);
    put(text, last);
}

void sae_progress_open(sae_progress *p, const char *label, const char *unit, double total)
{
    memset(p, 0, sizeof *p);
    p->label = label;
    p->unit = unit;
    p->total = total;
    p->t0 = p->last = sae_clock();
    p->active = out_fd >= 0;
    p->next_mark = 1;
    p->first = p->left = -1;
}

void sae_progress_at(sae_progress *p, double done)
{
    const double quiet = 2, redraw = 0.1;
    p->done = done;
    if (p->first < 0)
        p->first = done;
    if (!p->active)
        return;
    double now = sae_clock();
    if (now - p->last < redraw || now - p->t0 < quiet)
        return;
    p->last = now;
    int quarter = p->total > 0 ? (int)fmin(4 * done / p->total, 3) : 0;
    if (!on_terminal && quarter < p->next_mark)
        return;
    p->next_mark = quarter + 1;
    draw(p, now, 0);
}

void sae_progress_close(sae_progress *p)
{
    double now = sae_clock();
    if (p->active && now - p->t0 >= 2)
        draw(p, now, 1);
    p->active = 0;
}
