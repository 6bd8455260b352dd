/* tests/bench/twin/work.h - the one function that both libraries time. */
#ifndef TESTS_BENCH_WORK_H
#define TESTS_BENCH_WORK_H

#ifdef __cplusplus
extern "C" {
#endif

/* A chain of dependent operations: 8 cycles a step. Short chains of successive calls overlap, by
 * how much depends on where code lies: time long ones. */
double work(int steps);

#ifdef __cplusplus
}
#endif

#endif
