"""One job: lease, worker process, supervisor; and the one place that loads an experiment by name."""
