/* tests/support/backends.h - how many backends and variants there are: loop tests want to know
 * before any of them runs. */
#ifndef SAE_TESTS_BACKENDS_H
#define SAE_TESTS_BACKENDS_H

/* Those in the program and the CUDA object of SAEMARK_CUDA. */
int test_backend_count(void);
int test_variant_count(void);

#endif
