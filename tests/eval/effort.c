/* tests/eval/effort.c - what the progress line of an evaluation says is left. */
#include "eval/effort.h"
#include "eval/rig.h"

#include <time.h>

enum { D = 8, ROWS = 500 };

static float rows[ROWS * D];
static rig g;
static const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};

static void setup(void)
{
    for (int i = 0; i < ROWS * D; i++)
        rows[i] = (float)(i % 7);
    rig_open(&g, rows, ROWS, D, "ref");
    g.stream.B = 250;
    rig_probe(&g, "identity", run_identity, NULL, none);
    rig_probe(&g, "zero", run_zero, NULL, none);
    rig_metric(&g, "reconstruction");
}

static void teardown(void)
{
    rig_close(&g);
}

/* ---- seconds --------------------------------------------------------------------------------- */

START_TEST(every_kind_has_its_pace)
{
    sae_effort f = {0};
    ck_assert_double_eq(sae_effort_seconds_left(&f), 0);
    f.left[SAE_EFFORT_SOURCE] = 100;
    ck_assert_double_eq(sae_effort_seconds_left(&f), 0); /* nothing is known */
    f.done[SAE_EFFORT_SOURCE] = 50;
    f.seconds[SAE_EFFORT_SOURCE] = 25;
    ck_assert_double_eq(sae_effort_seconds_left(&f), 50);
    f.done[SAE_EFFORT_SAE] = 50;
    f.seconds[SAE_EFFORT_SAE] = 75;
    f.left[SAE_EFFORT_SAE] = 10;
    ck_assert_double_eq(sae_effort_seconds_left(&f), 50 + 15);
    f.left[SAE_EFFORT_PAIR] = 4; /* unknown: the mean pace, 1 */
    ck_assert_double_eq(sae_effort_seconds_left(&f), 50 + 15 + 4);
    f.left[SAE_EFFORT_END] = 1000; /* as long as all the rest, 100 seconds of it over */
    ck_assert_double_eq(sae_effort_seconds_left(&f), 2 * (50 + 15 + 4) + 100);
    f.done[SAE_EFFORT_END] = 8; /* once there was one, its pace */
    f.seconds[SAE_EFFORT_END] = 2;
    f.seconds[SAE_EFFORT_SAE] += 6; /* mean pace 1 again */
    ck_assert_double_eq_tol(sae_effort_seconds_left(&f), 50 + 10 * 81 / 50.0 + 4 + 250, 1e-12);
}
END_TEST

/* ---- rows ------------------------------------------------------------------------------------ */

static int64_t passes_taken, passes_said;
static int slow; /* a batch takes longer than lines are held back for */

static size_t size_of_pass(const sae_measure *r)
{
    (void)r;
    return sizeof(int64_t);
}
static int slow_batch(const sae_measure *r, void *s, const sae_eval *e)
{
    (void)r, (void)s;
    struct timespec wait = {2, 100000000};
    if (slow && e->row0 > 0) {
        nanosleep(&wait, NULL);
        slow = 0;
    }
    return SAE_OK;
}
static int merge_passes(const sae_measure *r, void *a, const void *b)
{
    (void)r, (void)a, (void)b;
    return SAE_OK;
}
static int end_of_pass(const sae_measure *r, void *s)
{
    (void)r;
    return ++*(int64_t *)s < passes_taken ? SAE_AGAIN : SAE_OK;
}
static int64_t said(const void *opt)
{
    (void)opt;
    return passes_said;
}
static int wanted(const sae_measure *r)
{
    (void)r;
    return 1;
}

/* What is written of two SAEs under `reconstruction`, a metric of so many passes and one of pairs:
 * the first line and the last one. */
static void check_lines(int64_t taken, int64_t says, const char *first, const char *last)
{
    sae_metric passes = {.name = "passes", .opt_size = 1, .options = no_options,
                         .state_size = size_of_pass, .begin = sae_begin_zero, .batch = slow_batch,
                         .merge = merge_passes, .end = end_of_pass,
                         .passes_for = says ? said : NULL};
    sae_metric pairs = {.name = "pairs", .needs = SAE_MNEED_PEER, .opt_size = 1,
                        .options = no_options, .state_size = sae_no_rows_size,
                        .begin = sae_begin_zero, .batch = sae_no_rows_batch,
                        .merge = sae_no_rows_merge, .end = sae_begin_zero, .pair = wanted};
    sae_spec spec[2] = {{.name = "passes", .metric = &passes, .opts = g.spec[0].opts},
                        {.name = "pairs", .metric = &pairs, .opts = g.spec[0].opts}};
    char text[2000], *end;
    passes_taken = taken;
    passes_said = says;
    slow = 1;
    g.metric[1] = &spec[0];
    g.metric[2] = &spec[1];
    g.metrics = 3;
    rig_lines(&g, text, sizeof text);
    g.metrics = 1;
    ck_assert_msg(!strncmp(text, first, strlen(first)), "%s", text);
    end = strstr(text, "evaluate 100%");
    ck_assert_msg(end && !strncmp(end, last, strlen(last)), "%s", text);
}

/* A pass is 500 rows, read and shown to two SAEs: 1500. Two pairs see a batch of 250 rows and have
 * enough: 500. The ends of two metrics of two SAEs are 250 each, those of two pairs 500: 2000. The
 * first line is drawn when an SAE has seen the second batch: 750 + 500 + 250 + 250. A further pass
 * is 1500 and two ends of 250. */
START_TEST(passes_are_counted)
{
    check_lines(1, 0, "evaluate  43% 1.75k/4.00k row passes", "evaluate 100% 4.00k/4.00k row ");
    check_lines(2, 2, "evaluate  29% 1.75k/6.00k row passes", "evaluate 100% 6.00k/6.00k row ");
}
END_TEST

START_TEST(not_as_many_passes_as_said)
{
    check_lines(2, 0, "evaluate  43% 1.75k/4.00k row passes", "evaluate 100% 6.00k/6.00k row ");
    check_lines(1, 2, "evaluate  29% 1.75k/6.00k row passes", "evaluate 100% 4.00k/4.00k row ");
}
END_TEST

START_TEST(metrics_say_their_passes)
{
    static const struct {
        const char *spec;
        int64_t passes;
    } all[] = {{"reconstruction", 1},
               {"darkmatter", 2},
               {"error_scaling", 2},
               {"steering", 1},
               {"steering:label=a", 2},
               {"unlearning", 1},
               {"unlearning:label=a", 2},
               {"ravel", 1},
               {"ravel:first=a,second=b", 2},
               {"ravel:first=a,second=b,steps=3", 5}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        sae_spec s;
        ck_assert_ok(sae_spec_parse(&s, g.reg, SAE_KIND_METRIC, all[i].spec, &g.err), g.err);
        ck_assert_int_eq(sae_metric_passes(s.metric, sae_opts_base(s.opts)), all[i].passes);
        sae_spec_free(&s);
    }
}
END_TEST

Suite *suite_effort(void)
{
    Suite *s = suite_create("effort");
    TCase *t = tcase_create("effort");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_kind_has_its_pace);
    tcase_add_test(t, passes_are_counted);
    tcase_add_test(t, not_as_many_passes_as_said);
    tcase_add_test(t, metrics_say_their_passes);
    suite_add_tcase(s, t);
    return s;
}
