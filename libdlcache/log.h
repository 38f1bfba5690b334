/* One line on standard error, for DLCACHE_LOG. A single write(2); no stdio. Any context. */
#ifndef DLCACHE_LOG_H
#define DLCACHE_LOG_H

/* "dlcache: PID: " and the NULL-terminated list of texts, cut at 1,000 bytes. */
void log_line(const char *const *texts);

#endif
