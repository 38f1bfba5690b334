/* All suites of units; the last line is the count. */
#include <stdio.h>

#include "test/check/suites.h"

int main(void)
{
    SRunner *runner = srunner_create(suite_lookup());

    srunner_add_suite(runner, suite_build());
    srunner_add_suite(runner, suite_bundle());
    srunner_add_suite(runner, suite_facts());
    srunner_add_suite(runner, suite_manifest());
    srunner_add_suite(runner, suite_policy());
    srunner_add_suite(runner, suite_replay());
    srunner_add_suite(runner, suite_report());
    srunner_add_suite(runner, suite_diff());
    srunner_add_suite(runner, suite_input());
    srunner_add_suite(runner, suite_show());
    srunner_add_suite(runner, suite_spool());
    srunner_add_suite(runner, suite_stage());
    srunner_add_suite(runner, suite_start());
    srunner_run_all(runner, CK_NORMAL);
    const int run = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    printf("%d passed, %d failed\n", run - failed, failed);
    return failed || !run;
}
