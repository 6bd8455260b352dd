/* suite/core/backend_file.h - the CUDA backend: a shared object opened at run time.
 *
 * The program needs neither CUDA nor a GPU to run; where libsaemark-cuda.so lies beside it (or in
 * ../lib/saemark, or where the environment variable SAEMARK_CUDA says) and a device is there, it is
 * one backend more.
 */
#ifndef SAE_CORE_BACKEND_FILE_H
#define SAE_CORE_BACKEND_FILE_H

#include <sae/backend.h>

/* Open the object and ask it for its backend; *object is for dlclose. */
int sae_backend_open_file(const char *path, void **object, const sae_backend **be, sae_err *err);

/* The backend of the file where this program looks for one. SAE_DONE with a reason in why (a line)
 * when there is none; an error only where SAEMARK_CUDA names a file that is none. */
int sae_backend_find_file(void **object, const sae_backend **be, char why[200], sae_err *err);

#endif
