"""Fingerprints that move with content and with nothing else."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from components import lineage


def test_digest_ignores_the_order_of_keys_and_nothing_else():
    assert lineage.digest({"a": 1, "b": [1, 2]}) == lineage.digest({"b": [1, 2], "a": 1})
    assert lineage.digest({"a": 1}) != lineage.digest({"a": 2})
    assert lineage.digest([1, 2]) != lineage.digest([2, 1])
    assert lineage.digest({}) == hashlib.sha256(b"{}").hexdigest()


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert lineage.file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _folder(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_folder_digest_depends_on_names_and_contents_alone(tmp_path):
    one = lineage.folder_digest(_folder(tmp_path / "one", a="1", sub__b="2"))
    assert one == lineage.folder_digest(_folder(tmp_path / "two", sub__b="2", a="1"))
    assert one != lineage.folder_digest(_folder(tmp_path / "content", a="1", sub__b="3"))
    assert one != lineage.folder_digest(_folder(tmp_path / "name", a="1", sub__c="2"))
    assert one != lineage.folder_digest(_folder(tmp_path / "place", a="1", b="2"))
    assert one != lineage.folder_digest(_folder(tmp_path / "swapped", a="2", sub__b="1"))


def test_versions_leave_out_what_is_not_installed():
    found = lineage.versions("numpy", "no-such-distribution")
    assert found.keys() == {"python", "numpy"}


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "dvc.lock").write_text("1")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-m", "first")
    return tmp_path


def test_commit_says_when_tracked_files_changed(repository):
    clean = lineage.git_commit(repository)
    assert clean is not None
    assert len(clean) == 40
    (repository / "new.py").write_text("untracked files do not count")
    (repository / "dvc.lock").write_text("nor does what a run itself writes")
    assert lineage.git_commit(repository) == clean
    (repository / "code.py").write_text("2")
    assert lineage.git_commit(repository) == clean + "+changes"


def test_outside_a_repository_there_is_no_commit(tmp_path, repository):
    below = repository / "below"
    below.mkdir()
    assert lineage.git_commit(below) is None  # a repository around the workspace is not the workspace's
