"""Workspaces: one of raw images, and a toy one in which everything up to `evaluate` has run."""

from __future__ import annotations

import shutil

import pytest
import torch

from components import paths
from components.stages.embed import embed
from components.stages.evaluate import evaluate
from components.stages.pretrain import pretrain
from components.stages.train import train
from prepare_support import fill, set_params
from stage_support import STRATEGIES, write_params


@pytest.fixture(scope="session")
def trained_workspace(toy_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(toy_folder, root / paths.PREPARED)
    write_params(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.set_num_threads(1)
        pretrain()
        embed()
        for name in STRATEGIES:
            train(name)
        evaluate()
    return root


@pytest.fixture
def inside(trained_workspace, monkeypatch):
    monkeypatch.chdir(trained_workspace)
    return trained_workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Images of three classes and parameters for `prepare`, as the current folder."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "images")
    set_params()
    return tmp_path
