"""What a person reads when a run ends: cells by status, and each failed job with its logs.

Input: Snakemake's own log of the run. Outputs: text.
"""

#: Failed jobs that are told one by one; a broken campaign has as many as cells.
TOLD = 20


def same_command(target):
    """The command of this run for another target."""
    campaign = " ".join(map(str, workflow.overwrite_configfiles))
    # The shell that `make demo` was typed into knows no environment.
    first = os.environ.get("TYPE_FIRST", "")
    return f"{first}snakemake {target}" + (f" --configfile {campaign}" if campaign else "")


def with_campaign(text):
    """The text with its commands as they must be typed: for this run's campaign."""
    text = re.sub(r"(?<=measure it: )snakemake (\S+)", lambda command: same_command(command[1]), text)
    return text.replace("snakemake without a target", f"`{same_command('all')}`")


def read_log(log):
    return "".join(Path(file).read_text() for file in log)


def interrupted(said):
    """Whether Snakemake's log says that a person stopped the run."""
    return "Terminating processes on user request" in said


def failures(said):
    """A text per failed job of Snakemake's log: its logs, its Slurm job and how that ended, its last words. None of an
    interrupted run, whose jobs were stopped: what failed before does so again when it goes on."""
    if interrupted(said):
        return []
    told = {}
    for block in re.split(r"\n(?=Error in )", said)[1:]:
        if logs := re.search(r"^ +log: (.+) \(check log file", block, re.M):
            own, *slurm = logs[1].split(", ")
            job = re.search(r"SLURM-job '(\w+)' failed, SLURM status is: '(\w+)'", block)
            # A job that was tried again is told once, as it ended last.
            told[own] = [f"A job failed; its log is {own}"]
            if job:
                told[own].append(
                    f"It was Slurm job {job[1]}, which ended as {job[2]}; Slurm's log is {slurm[0]}"
                )
            told[own] += last_words(own, *slurm)
    more = [f"... and {len(told) - TOLD} more jobs failed."] if len(told) > TOLD else []
    return ["\n".join(lines) for lines in list(told.values())[:TOLD]] + more


def last_words(own, slurm=None):
    """The last line of a job's log, or the sentence of Hydra that is above it; where it was killed before it said
    anything, who killed it and why."""
    text = Path(own).read_text() if Path(own).exists() else ""
    if hydra := re.search(r"^In '(\S+)': \w+ raised while composing config:\n(.+)", text, re.M):
        return [f"config/hydra/{hydra[1]}.yaml: {hydra[2]}"]
    lines = text.splitlines()
    if slurm and Path(slurm).exists():
        killed = re.findall(
            r"^slurmstepd\S* error: .+|(?<=WorkflowError:\n) *.+", Path(slurm).read_text(), re.M
        )
        lines += [line.strip() for line in killed if "At least one job did not" not in line][:1]
    return lines[-1:]


def results(log):
    """Cells and experiments by status, where the device's time went, and the report: of `partial` if that is what ran."""
    partial = "(Rule: partial)" in read_log(log)
    said = [Path(aggregation_log(experiment, partial)) for experiment in (GRID, *EXPERIMENTS)]
    page = Path(f"{RESULTS}/partial/report.html" if partial else f"{RESULTS}/report.html")
    lines = [with_campaign(file.read_text().rstrip()) for file in said if file.exists()]
    return "\n".join(lines + [f"The report is {page}"] * page.exists())
