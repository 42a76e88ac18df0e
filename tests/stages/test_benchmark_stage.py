"""benchmark in a toy workspace: the bundle by onnxruntime, and every competitor that has a model in torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from components import jsonfile, paths
from components.data import prepared
from components.deployment import bundle
from components.deployment.onnx_export import export
from components.stages.benchmark import benchmark
from components.stages.pretrain import pretrain
from components.stages.train import train
from components.training.restore import restore

STRATEGIES = {"fine_tune": {}, "dann": {}, "diverging": {"strategy": "fine_tune", "recipe": {"lr": 1e30}}}


@pytest.fixture(scope="module")
def workspace(toy_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmarked")
    shutil.copytree(toy_folder, root / paths.PREPARED)
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16},
        "pretrain": {"steps": 2, "batch_size": 16},
        "train": {"steps": 2, "batch_size": 16, "seeds": [0]},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "benchmark": {"seconds": 0.04, "batch_sizes": [1, 3], "providers": ["cpu"]},
        "strategies": STRATEGIES,
        "compare": list(STRATEGIES),
        "students": [],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("params.yaml").write_text(yaml.safe_dump(content))
        torch.set_num_threads(1)
        pretrain()
        for name in STRATEGIES:
            train(name)
        strategy = restore(paths.MODELS / "fine_tune")
        facts = {"classes": strategy.label_space.classes, "preprocess": strategy.backbone.preprocess.to_dict()}
        more = {"strategy": "fine_tune", "lineage": {"weights_sha256": "of the test"}}
        bundle.write(paths.BUNDLE, {"fp32": export(strategy, facts)}, {**facts, **more})
        benchmark()
    return root


@pytest.fixture
def found(workspace) -> dict:
    return jsonfile.read(workspace / paths.BENCHMARK)


def test_the_bundle_is_timed_for_every_batch_size(found):
    assert found["strategy"] == "fine_tune"
    assert [(row["precision"], row["provider"], row["batch_size"]) for row in found["measurements"]] == [
        ("fp32", "cpu", 1),
        ("fp32", "cpu", 3),
    ]
    assert all(0 < row["latency_ms"] <= row["latency_p95_ms"] for row in found["measurements"])


def test_every_competitor_with_a_model_is_timed_by_the_same_means(found):
    assert found["strategies_by"] == "torch on cpu, batch 1"
    assert list(found["strategies"]) == ["fine_tune", "dann"]  # the one that diverged has nothing to time
    for row in found["strategies"].values():
        assert row.keys() == {"latency_ms", "latency_p95_ms", "size_mib"}
        assert 0 < row["latency_ms"] <= row["latency_p95_ms"]


def test_a_competitor_s_size_is_that_of_what_would_be_deployed(found, workspace):
    sizes = {name: row["size_mib"] for name, row in found["strategies"].items()}
    assert sizes["dann"] == sizes["fine_tune"]  # its discriminator stays behind
    bytes_of_weights = (workspace / paths.MODELS / "fine_tune" / "model.safetensors").stat().st_size
    assert sizes["fine_tune"] == pytest.approx(bytes_of_weights / 2**20, rel=0.02)  # but for the names in the file


def test_images_are_read_from_the_prepared_data(workspace, monkeypatch):
    """As the strategies want them: a preprocessed image of theirs, whatever the size it is stored at."""
    seen = []
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(
        "components.stages.benchmark.timing.measure",
        lambda run, batch, seconds: (
            seen.append(tuple(batch.shape))
            or {"latency_ms": 1.0, "latency_p95_ms": 1.0, "images_per_s": 1.0, "calls": 1}
        ),
    )
    benchmark()
    size = prepared.read(paths.PREPARED).target.pixels.shape[1]
    assert seen == [(1, size, size, 3), (3, size, size, 3), (1, 3, size, size), (1, 3, size, size)]
