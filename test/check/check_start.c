/* How the stager would be started, and whose its stage is, from environments of batch systems. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replayer/attach/about.h"
#include "replayer/start/start.h"

Suite *suite_start(void);

static char *argv[] = {(char *)"dlcache", (char *)"it's", NULL};

static const struct {
    char *env[5];
    enum start_kind kind;
    const char *text; /* the command, or why not */
} plans[] = {
    {{"HOME=/"}, START_HERE, NULL},
    {{"SLURM_JOB_ID=1", "SLURM_JOB_NUM_NODES=3"}, START_LAUNCH,
     "srun --nodes=3 --ntasks=3 --ntasks-per-node=1 --overlap --mem=0 --input=none --export=ALL --wait=5 "
     "--job-name=dlcache dlcache 'it'\\''s'"},
    {{"SLURM_JOB_ID=1", "SLURM_JOB_NUM_NODES=3", "SLURM_STEP_ID=0"}, START_HERE, NULL},
    {{"SLURM_JOB_ID=1"}, START_REFUSE,
     "SLURM_JOB_ID is set, but not SLURM_JOB_NUM_NODES: start it with srun, one task a node"},
    /* Flux: the scripts of flux batch, flux alloc, flux start */
    {{"FLUX_URI=local:///x", "FLUX_ENCLOSING_ID=f2"}, START_ASK,
     "flux resource list --states=up --no-header '--format={nnodes}' dlcache 'it'\\''s'"},
    {{"FLUX_URI=local:///x"}, START_ASK,
     "flux resource list --states=up --no-header '--format={nnodes}' dlcache 'it'\\''s'"},
    /* a task of flux run, with or without PMI; an epilog; a job of Slurm that has the variables of a Flux elsewhere */
    {{"FLUX_URI=local:///x", "FLUX_JOB_ID=f2", "FLUX_TASK_RANK=0", "PMI_RANK=0"}, START_HERE, NULL},
    {{"FLUX_URI=local:///x", "FLUX_JOB_ID=f2", "FLUX_TASK_RANK=1"}, START_HERE, NULL},
    {{"FLUX_URI=local:///x", "FLUX_JOB_ID=f2", "FLUX_TASK_RANK=1", "PBS_JOBID=1", "PBS_NODEFILE=/nowhere"}, START_HERE,
     NULL},
    {{"FLUX_URI=local:///x", "FLUX_JOB_ID=f2", "FLUX_JOB_USERID=1", "FLUX_JOB_RANKS=0-3"}, START_HERE, NULL},
    {{"FLUX_URI=local:///x", "SLURM_JOB_ID=1"}, START_REFUSE,
     "SLURM_JOB_ID is set, but not SLURM_JOB_NUM_NODES: start it with srun, one task a node"},
    {{"FLUX_ENCLOSING_ID=f2"}, START_HERE, NULL},
};

static void plan_of(struct start_plan *p, char *const *env, size_t count)
{
    char *ended[6] = {NULL};

    memcpy(ended, env, count * sizeof *ended);
    start_plan(p, ended, NULL, NULL);
}

static void check_text(const struct start_plan *p, const char *text)
{
    char *command = p->count ? start_text(p, argv) : NULL;

    if (!text)
        ck_assert_msg(!command && !p->why, "%s%s", command ? command : "", p->why ? p->why : "");
    else
        ck_assert_str_eq(command ? command : p->why, text);
    free(command);
}

START_TEST(test_plan)
{
    struct start_plan p;

    plan_of(&p, plans[_i].env, 5);
    ck_assert_int_eq(p.kind, plans[_i].kind);
    check_text(&p, plans[_i].text);
    start_free(&p);
}
END_TEST

#define UNTOLD "Flux does not tell how many nodes there are: start it with flux run -N NODES -n NODES"

static const struct {
    char *env[2];
    const char *answer, *text;
} answers[] = {
    {{"FLUX_URI=local:///x", "FLUX_ENCLOSING_ID=f2"}, "12\n",
     "flux run --nodes=12 --ntasks=12 --job-name=dlcache -o cpu-affinity=off dlcache 'it'\\''s'"},
    {{"FLUX_URI=local:///x"}, "1\n",
     "flux run --nodes=1 --ntasks=1 --job-name=dlcache -o cpu-affinity=off --env=FLUX_ENCLOSING_ID= dlcache 'it'\\''s'"},
    {{"FLUX_URI=local:///x"}, NULL, UNTOLD},
    {{"FLUX_URI=local:///x"}, "", UNTOLD},
    {{"FLUX_URI=local:///x"}, "0\n", UNTOLD},
    {{"FLUX_URI=local:///x"}, "NNODES\n", UNTOLD},
};

START_TEST(test_answer)
{
    struct start_plan p;

    plan_of(&p, answers[_i].env, 2);
    ck_assert_int_eq(p.kind, START_ASK);
    start_answer(&p, answers[_i].answer);
    ck_assert_int_eq(p.kind, strncmp(answers[_i].text, "flux run", 8) == 0 ? START_LAUNCH : START_REFUSE);
    check_text(&p, answers[_i].text);
    start_free(&p);
}
END_TEST

START_TEST(test_nobody_to_ask)
{
    struct start_plan p;

    setenv("PATH", "/nowhere", 1);
    plan_of(&p, answers[0].env, 2);
    start_ask(&p);
    ck_assert_int_eq(p.kind, START_REFUSE);
    check_text(&p, UNTOLD);
    start_free(&p);
}
END_TEST

/* --- whose a stage is ------------------------------------------------------------------------------------------- */

static const struct {
    char *env[4];
    const char *manager, *job; /* NULL: nobody's */
} owners[] = {
    {{"HOME=/"}, NULL, NULL},
    {{"SLURM_JOB_ID=7", "FLUX_JOB_ID=f2"}, "Slurm", "7"},
    {{"PBS_JOBID=7.x"}, "PBS", "7.x"},
    /* a job of the outermost instance; one that a batch job has started; one of a batch job within a batch job */
    {{"FLUX_JOB_ID=\u0192c6XzvT", "FLUX_JOB_ID_PATH=/\u0192c6XzvT"}, "Flux", "fc6XzvT"},
    {{"FLUX_JOB_ID=f3", "FLUX_JOB_ID_PATH=/f2/f3", "FLUX_ENCLOSING_ID=f2"}, "Flux", "f2"},
    {{"FLUX_JOB_ID=\u01924", "FLUX_JOB_ID_PATH=/\u01922/\u01923/\u01924", "FLUX_ENCLOSING_ID=\u01923"}, "Flux", "f2"},
    /* a Flux that does not tell the path; the script of a batch job */
    {{"FLUX_JOB_ID=f3", "FLUX_ENCLOSING_ID=f2"}, "Flux", "f2"},
    {{"FLUX_JOB_ID=f3"}, "Flux", "f3"},
    {{"FLUX_ENCLOSING_ID=\u01922"}, "Flux", "f2"},
    /* started by ourselves in an instance that is no job */
    {{"FLUX_JOB_ID=f3", "FLUX_JOB_ID_PATH=/f3", "FLUX_ENCLOSING_ID="}, NULL, NULL},
    {{"FLUX_JOB_ID_PATH=/"}, NULL, NULL},
    {{"FLUX_JOB_ID_PATH=/1234567890123456789012345678901234567890123456789012345678901234"}, NULL, NULL},
    {{"FLUX_JOB_ID_PATH=/\u01923456789012345678901234567890123456789012345678901234567890123"}, "Flux",
     "f3456789012345678901234567890123456789012345678901234567890123"},
};

static void become(char *const *env, size_t count)
{
    static char *ended[8];

    memset(ended, 0, sizeof ended);
    memcpy(ended, env, count * sizeof *ended);
    environ = ended;
}

START_TEST(test_owner)
{
    struct about a = {0};

    become(owners[_i].env, 4);
    ck_assert_int_eq(about_job(&a), owners[_i].job != NULL);
    ck_assert_str_eq(a.manager, owners[_i].manager ? owners[_i].manager : "");
    ck_assert_str_eq(a.job, owners[_i].job ? owners[_i].job : "");
}
END_TEST

static const struct {
    char *env[4];
    int over;
} epilogs[] = {
    {{"PATH=/nowhere", "FLUX_JOB_ID=\u01922", "FLUX_JOB_USERID=1", "FLUX_JOB_RANKS=0-3"}, 1},
    {{"PATH=/nowhere", "FLUX_JOB_ID=f2", "FLUX_JOB_USERID=1", "FLUX_JOB_RANKS=0-3"}, 1},
    {{"PATH=/nowhere", "FLUX_JOB_ID=f22", "FLUX_JOB_USERID=1", "FLUX_JOB_RANKS=0-3"}, 0},
    /* no epilog: Flux is asked, and cannot be */
    {{"PATH=/nowhere", "FLUX_JOB_ID=f2", "FLUX_TASK_RANK=0"}, -1},
    {{"PATH=/nowhere"}, -1},
};

START_TEST(test_epilog_of_flux)
{
    const struct about a = {.manager = "Flux", .job = "f2"};

    become(epilogs[_i].env, 4);
    ck_assert_int_eq(about_is_over(&a), epilogs[_i].over);
}
END_TEST

Suite *suite_start(void)
{
    Suite *s = suite_create("start");
    TCase *c = tcase_create("plans"), *o = tcase_create("owners");

    tcase_add_loop_test(c, test_plan, 0, sizeof plans / sizeof *plans);
    tcase_add_loop_test(c, test_answer, 0, sizeof answers / sizeof *answers);
    tcase_add_test(c, test_nobody_to_ask);
    suite_add_tcase(s, c);
    tcase_add_loop_test(o, test_owner, 0, sizeof owners / sizeof *owners);
    tcase_add_loop_test(o, test_epilog_of_flux, 0, sizeof epilogs / sizeof *epilogs);
    suite_add_tcase(s, o);
    return s;
}
