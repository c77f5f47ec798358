"""Where the scripts are: beside this workflow, or in a clone where a module takes it from a git host.

Input: the workflow's folder, local or hosted. Output: in the second case the clone, in .snakemake.
"""

import shutil
import tempfile


def repository(workflow_folder):
    """The checkout that `workflow_folder` is part of.

    Where a module takes it from a git host, Snakemake fetches files one by one, and the scripts need the others
    beside them: then a clone of that commit, always in the same place, since Snakemake takes another command for
    another result.
    """
    if workflow_folder.is_local:
        return Path(workflow_folder).parent
    host = workflow_folder.hosted_repo.repo
    commit = host.commit(workflow_folder.ref)
    clone = Path(".snakemake/inferbench").absolute()
    if not clone.exists() or type(host)(clone).head.commit != commit:
        clone.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=clone.parent) as folder:
            host.clone(f"{folder}/clone").git.checkout(commit.hexsha)
            shutil.rmtree(clone, ignore_errors=True)
            Path(folder, "clone").rename(clone)
    return clone
