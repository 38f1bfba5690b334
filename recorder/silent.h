/* Programs that the pilot started and that noted nothing: statically linked ones, and those whose environment was
 * cleared. What they did is not known; that they changed something is, by the times of files and directories. */
#ifndef DLCACHE_SILENT_H
#define DLCACHE_SILENT_H

#include "collect.h"
#include "places.h"

/* Finds them; and where there are any, makes volatile every directory in which a name came or went since the pilot
 * started (__pycache__ too: nobody knows who wrote there), and marks every file that was changed since. Reports how
 * many there were, and one of them. */
void silent_programs(struct places *ps, uint64_t started_ns, struct collect_report *report);

#endif
