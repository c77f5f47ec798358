"""Snakemake as it is, but its Slurm plugin looks at the queue in the same interval for as long as jobs run.

Its own interval grows by ten seconds with each look that finds no job done, up to three minutes, and no
setting holds it: these tests would wait for that, and for nothing else.
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor


def interval(executor: Executor) -> int:
    return executor.workflow.executor_settings.init_seconds_before_status_checks


Executor.next_seconds_between_status_checks = property(interval, lambda executor, grown: None)

if __name__ == "__main__":
    main()
