/* The parts of a report's figures, and what they share. Each part puts its members into the object. */
#ifndef DLCACHE_REPORT_PARTS_H
#define DLCACHE_REPORT_PARTS_H

#include "manifests/report/report.h"

/* What the page has a colour for, in the order in which it lists them. */
enum report_class {
    REPORT_PYTHON,      /* modules and their bytecode */
    REPORT_OBJECTS,     /* shared objects */
    REPORT_PROGRAMS,
    REPORT_DATA,
    REPORT_DIRECTORIES, /* and symlinks */
    REPORT_ABSENT,
    REPORT_CLASSES
};

enum report_class report_class_of(const struct manifest_entry *e);

void report_packages(json_t *figures, const struct manifest *m); /* packages.c */
void report_times(json_t *figures, const struct manifest *m);    /* times.c: time line, gaps */
void report_searches(json_t *figures, const struct manifest *m); /* searches.c */

/* Bytes as the page shows them: what is no UTF-8 and control characters escaped, the middle left out of what is very
 * long. A new reference. */
json_t *report_text(const char *bytes, size_t len);
json_t *report_path(const struct manifest_entry *e);
json_t *report_number(uint64_t n);
/* An array of them. */
json_t *report_numbers(const uint64_t *n, size_t count);

#endif
