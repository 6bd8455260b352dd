/* suite/track/quiet.h - was the machine quiet enough to time something? */
#ifndef SAE_TRACK_QUIET_H
#define SAE_TRACK_QUIET_H

#include <sae/base.h>

enum { SAE_CALIBRATIONS = 2 };
extern const char *const sae_calibration_name[SAE_CALIBRATIONS]; /* "integer", "stream" */

/* Seconds of a fixed integer loop and of copying a fixed block: the best of `tries`. They never
 * touch the product, so when they move the machine has. */
int sae_calibrate(int tries, double seconds[SAE_CALIBRATIONS], sae_err *err);

typedef struct sae_quiet { /* limits, and the state at the last look; starts as {.max_load, ...} */
    double max_load;       /* processors that other programs may use on average */
    double drift;          /* relative change of the calibration; 0: do not calibrate */
    double busy, own, at;  /* seconds of all processors, of ours, of the clock */
    int64_t throttled;     /* thermal events so far */
    char governor[32];     /* of the first processor, "" when unknown */
    double reference[SAE_CALIBRATIONS]; /* 0: the first measurement becomes it */
} sae_quiet;

/* Note the state before a measurement. */
int sae_quiet_begin(sae_quiet *q, sae_err *err);
/* What was wrong since, into why [room]; "" when nothing was. */
int sae_quiet_check(sae_quiet *q, char *why, size_t room, sae_err *err);

#endif
