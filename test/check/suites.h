/* One Check suite a module. */
#ifndef DLCACHE_SUITES_H
#define DLCACHE_SUITES_H

#include <check.h>

Suite *suite_build(void);
Suite *suite_bundle(void);
Suite *suite_facts(void);
Suite *suite_lookup(void);
Suite *suite_manifest(void);
Suite *suite_policy(void);
Suite *suite_replay(void);
Suite *suite_report(void);
Suite *suite_diff(void);
Suite *suite_input(void);
Suite *suite_show(void);
Suite *suite_spool(void);
Suite *suite_stage(void);
Suite *suite_start(void);

#endif
