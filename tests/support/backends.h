/* tests/support/backends.h - backends that tests walk. */
#ifndef SAE_TESTS_BACKENDS_H
#define SAE_TESTS_BACKENDS_H

/* How many the registry has: those in the program and the CUDA object of SAEMARK_CUDA, for loop
 * tests, whose extent is wanted before any of them runs. */
int test_backend_count(void);

#endif
