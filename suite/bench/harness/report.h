/* suite/bench/harness/report.h - where rows go. */
#ifndef SBH_REPORT_H
#define SBH_REPORT_H

#include "harness.h"

enum { SBH_MAX_CACHES = 16 };

struct sbh_machine { /* machine.c */
    char date[32], host[256];
    int cpus;
    double mhz;
    int scaling, aslr; /* 1, 0; -1: not known */
    struct {
        char type[16];
        int level, sharing;
        int64_t bytes;
    } cache[SBH_MAX_CACHES];
    int caches, loads;
    double load[3];
};
void sbh_look_at_machine(struct sbh_machine *m);

struct sbh_sink { /* one report in one format */
    FILE *out, *err; /* rows; the context of console and CSV */
    enum sbh_format format;
    bool color, tabular;
    bool started;               /* a row was written */
    int name_width;             /* console */
    struct sbh_counters header; /* console, tabular: columns of the last header; CSV: all columns */
};

struct sbh_output { /* a file that appears whole under its name, or stays as NAME.partial */
    FILE *file; /* NULL: none */
    const char *name, *partial; /* partial NULL: written in place */
};
/* false: it cannot be opened, said on stderr. An empty name opens nothing. */
bool sbh_output_open(struct sbh_pool *p, const char *name, struct sbh_output *out);
bool sbh_output_close(struct sbh_output *out); /* false: not everything was written, said */

struct sbh_report {
    struct sbh_pool *pool;
    struct sbh_machine machine;
    struct sbh_sink display, file; /* file.out NULL: none */
    FILE *strict;                  /* NULL: none */
    struct sbh_rows all;           /* runs, kept for the strict export */
};

void sbh_report_begin(struct sbh_report *r);
/* `mode`: SBH_DISPLAY_AGGREGATES, SBH_FILE_AGGREGATES leave runs out where there are aggregates. */
void sbh_report_rows(struct sbh_report *r, const struct sbh_rows *runs,
                     const struct sbh_rows *aggregates, int mode);
void sbh_report_end(struct sbh_report *r);
void sbh_report_list(const struct sbh_instances *all, enum sbh_format format, FILE *out);

/* The formats. */
void sbh_console_rows(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_rows *rows);
void sbh_csv_rows(struct sbh_pool *p, struct sbh_sink *s, const struct sbh_rows *rows);
void sbh_csv_text(FILE *out, const char *text); /* in quotes */
void sbh_json_context(FILE *out, const struct sbh_machine *m); /* up to the array of rows */
void sbh_json_rows(struct sbh_sink *s, const struct sbh_rows *rows);
void sbh_json_end(FILE *out);
void sbh_json_text(FILE *out, const char *text); /* in quotes, valid UTF-8 */
void sbh_json_number(FILE *out, double x);
void sbh_strict_export(struct sbh_pool *p, FILE *out, const struct sbh_machine *m,
                       const struct sbh_rows *runs);
/* As 1.5k or 16Ki: at most 32 characters. */
void sbh_human(char text[32], double x, int flags);

#endif
