/* Stands in for eval_report.c in builds without cairo. */
#include "eval.h"

bool eval_report_available(void)
{
    return false;
}

bool eval_write_report(eval_job *job, const char *directory)
{
    (void)directory;
    return tool_fail(&job->err, "--report: this build cannot draw pictures");
}
