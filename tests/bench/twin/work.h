/* tests/bench/twin/work.h - the one function that both libraries time. */
#ifndef TESTS_BENCH_WORK_H
#define TESTS_BENCH_WORK_H

#ifdef __cplusplus
extern "C" {
#endif

double work(int steps); /* a chain of dependent operations: about 4 cycles a step */

#ifdef __cplusplus
}
#endif

#endif
