/* What is made to fail, by rules that are set while the server runs. Any thread. */
#ifndef SLOWFS_FAULTS_H
#define SLOWFS_FAULTS_H

#include <stdio.h>

#include "slowfs.h"

/* The errno that this request gets, or 0. While the server hangs it comes back late; EINTR where the client was killed
 * in the meantime. `path` is asked for only where faults_need_paths(). */
int faults_decide(fuse_req_t, enum kind, const char *path);
bool faults_need_paths(void);

/* Rules, a line each; the first one that fits a request decides:
 *   ERROR [PROBABILITY] [KIND] [/PATH]   "EIO", "EIO 0.01 lookup", "ESTALE /lib/libx.so": below the mount
 *   hang SECONDS                         every request waits until that is over, or until "up" or "clear"
 *   down, up                             every request gets ENOTCONN
 *   clear                                no rules, no hanging, up
 * 0, or -EINVAL: then those before the one that is wrong are in force. */
int faults_set(const char *text);

/* Chances are drawn from this on: the same requests in the same order fail again. */
void faults_seed(unsigned);
void faults_print(FILE *);

/* "EIO", or NULL where it has no name here. */
const char *faults_error_name(int error);

#endif
