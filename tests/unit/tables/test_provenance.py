"""The commit that a number comes from, and whether it alone brings the number back."""

import subprocess

import pytest

from inferbench.tables import provenance

IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@example.org"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a script and a campaign, and its commit."""
    for name in ("scripts/a.py", "config/campaigns/mine.yaml", "config/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    for command in (["init", "-q"], ["add", "."], [*IDENTITY, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    said = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return tmp_path, said.stdout.strip()[:12]


def test_an_edited_campaign_is_no_other_code(checkout):
    folder, commit = checkout
    assert provenance.git_commit() == commit
    (folder / "config/campaigns/mine.yaml").write_text("2\n")
    (folder / "config/config.yaml").write_text("2\n")
    (folder / "notes").write_text("not tracked\n")
    assert provenance.git_commit() == commit
    (folder / "scripts/a.py").write_text("2\n")
    assert provenance.git_commit() == f"{commit}-dirty"


def test_without_a_repository_of_its_own_there_is_no_commit(checkout, monkeypatch):
    folder, _ = checkout
    monkeypatch.setattr(provenance, "REPOSITORY", folder / "scripts")
    assert provenance.git_commit() is None
