/* suite/report/series.h - figures of series: what SAEs have by step, feature, bin or label. */
#ifndef SAE_REPORT_SERIES_H
#define SAE_REPORT_SERIES_H

#include "report/canvas.h"

/* Draw a figure of any kind but tradeoff and breakdown: one of all SAEs, or one per variant. */
int sae_series_draw(sae_canvas *c, const sae_section_figure *f);
/* The total loss over training, a figure per variant. */
int sae_loss_draw(sae_canvas *c);

#endif
