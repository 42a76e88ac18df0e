"""Remembered architectures: the bytes of a fresh export in a fraction of its time, and never the wrong model."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional as F

from components.deployment import skeleton, tracing
from components.deployment.description import Indescribable, describe
from components.deployment.skeleton import Form
from components.strategies.fine_tune import FineTune
from components.strategies.lora import LoRA
from components.strategies.wise_ft import WiseFt
from components.types import LabelSpace

ROOT = Path(__file__).resolve().parents[2]
FORM = Form({"x": torch.zeros(2, 3)}, {"x": {0: "batch"}}, ("y",))
SPACE = LabelSpace({"label": ("a", "b", "c")})


class Tiny(nn.Module):
    """x [B, 3] -> power times a normalised linear layer, or with ReLU before it, [B, width]."""

    def __init__(self, width: int = 4, power: float = 2.0, activation: Any = None) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, width), nn.BatchNorm1d(width)
        self.power = power
        self.activation = activation

    def doubled(self, x: Tensor) -> Tensor:
        return 2 * x

    def halved(self, x: Tensor) -> Tensor:
        return x / 2

    def forward(self, x: Tensor) -> Tensor:
        made = self.norm(self.linear(x)) * self.power
        return made if self.activation is None else self.activation(made)


def _tiny(seed: int = 0, **given) -> Tiny:
    module = Tiny(**given).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


@pytest.fixture(scope="module")
def architecture() -> onnx.ModelProto:
    return tracing.trace(_tiny(), FORM)


@pytest.fixture
def traced(architecture, monkeypatch) -> list[nn.Module]:
    """The modules that were traced afresh, all of which get the architecture of a `Tiny` of width 4."""
    modules = []

    def trace(module: nn.Module, form: Form) -> onnx.ModelProto:
        modules.append(module)
        return architecture

    monkeypatch.setattr(tracing, "trace", trace)
    return modules


def _assert_answers(model: onnx.ModelProto, module: Tiny) -> None:
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        expected = module(x).numpy()
    (found,) = (np.asarray(value) for value in ReferenceEvaluator(model).run(None, {"x": x.numpy()}))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_architecture_holds_no_weight_and_nothing_of_this_machine(architecture):
    module = _tiny()
    names = {*module.state_dict()} - {"norm.num_batches_tracked"}
    assert {value.name for value in architecture.graph.input} == {"x", *names}
    assert all(np.prod(array.dims) <= 1 for array in architecture.graph.initializer)
    assert str(ROOT).encode() not in architecture.SerializeToString()
    assert b".py" not in architecture.SerializeToString()


def test_another_training_s_weights_go_into_the_remembered_architecture(traced, tmp_path):
    for seed in (1, 2, 3):
        module = _tiny(seed)
        _assert_answers(skeleton.model(module, FORM, FORM.outputs, tmp_path), module)
    assert len(traced) == 1
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".skeleton"


def test_without_a_folder_every_export_is_fresh(traced, tmp_path):
    for _ in range(2):
        skeleton.model(_tiny(), FORM, FORM.outputs, None)
    assert len(traced) == 2


def test_where_nothing_can_be_written_every_export_is_fresh(traced, tmp_path):
    """A file stands where the folder should: no permission stops root."""
    (tmp_path / "file").write_bytes(b"")
    module = _tiny()
    for _ in range(2):
        _assert_answers(skeleton.model(module, FORM, FORM.outputs, tmp_path / "file" / "skeletons"), module)
    assert len(traced) == 2


def test_architectures_used_last_are_kept(traced, tmp_path, monkeypatch):
    monkeypatch.setattr(skeleton, "ENTRIES", 2)
    (first, second, third) = (_tiny(power=power) for power in (2.0, 3.0, 4.0))
    for module in (first, second, first, third):
        skeleton.model(module, FORM, FORM.outputs, tmp_path)
        for path in tmp_path.iterdir():  # as if an hour had gone by
            age = path.stat().st_mtime - 3600
            os.utime(path, (age, age))
    kept = {path.stem for path in tmp_path.iterdir()}
    assert kept == {skeleton.key(module, FORM) for module in (first, third)}


def _cut(content: bytes) -> bytes:
    return content[:-7]


def _changed(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


@pytest.mark.parametrize("damage", [_cut, _changed, lambda content: b"", lambda content: content[32:]])
def test_a_damaged_skeleton_is_replaced(damage, traced, tmp_path):
    module = _tiny()
    skeleton.model(module, FORM, FORM.outputs, tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    file.write_bytes(damage(good))
    _assert_answers(skeleton.model(module, FORM, FORM.outputs, tmp_path), module)
    assert len(traced) == 2
    assert file.read_bytes() == good


def test_a_skeleton_under_another_s_name_is_not_taken(traced, tmp_path):
    """They fit each other's weights, so only the name that was written into it can tell."""
    double, triple = _tiny(power=2.0), _tiny(power=3.0)
    skeleton.model(double, FORM, FORM.outputs, tmp_path)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / f"{skeleton.key(triple, FORM)}.skeleton")
    skeleton.model(triple, FORM, FORM.outputs, tmp_path)
    assert traced == [double, triple]


def test_a_skeleton_that_does_not_fit_the_weights_is_replaced(traced, tmp_path, monkeypatch):
    monkeypatch.setattr(skeleton, "key", lambda module, form: "the same for all")
    other = tracing.trace(_tiny(), FORM)
    other_module = _tiny()
    skeleton._write(tmp_path / "the same for all.skeleton", _of_width_5(other))
    _assert_answers(skeleton.model(other_module, FORM, FORM.outputs, tmp_path), other_module)
    assert traced[-1] is other_module
    assert len(traced) == 2


def _of_width_5(architecture: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(architecture)
    for value in changed.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_value == 4:
                dimension.dim_value = 5
    return changed


@pytest.mark.parametrize(
    "given",
    [{"width": 5}, {"power": 2.5}, {"activation": torch.relu}, {"activation": nn.ReLU()}],
    ids=lambda given: next(iter(given)),
)
def test_whatever_changes_the_computation_changes_the_key(given):
    assert skeleton.key(_tiny(), FORM) == skeleton.key(_tiny(seed=1), FORM)
    assert skeleton.key(_tiny(**given), FORM) != skeleton.key(_tiny(), FORM)


def test_a_method_is_described_by_its_name():
    one, other = _tiny(), _tiny()
    one.activation, other.activation = one.doubled, other.halved
    assert describe(one) != describe(other)
    other.activation = other.doubled
    assert describe(one) == describe(other)


class Directions(nn.Module):
    """x [B, 3] -> the part of unit vectors that lies along x, [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Parameter(torch.eye(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) @ F.normalize(self.units, dim=1).T


def test_the_number_of_images_is_asked_nowhere():
    """The CPU would compute with it, and a GPU wait for that; torch expands a norm to the size of what it divides."""
    module = Directions()
    model = skeleton.model(module, FORM, FORM.outputs, None)
    assert {"Shape", "Expand"}.isdisjoint(node.op_type for node in model.graph.node)
    x = torch.tensor([[3.0, 0.0, 4.0]]).expand(5, 3)
    (found,) = (np.asarray(value) for value in ReferenceEvaluator(model).run(None, {"x": x.numpy()}))
    np.testing.assert_allclose(found, [[0.6, 0.0, 0.8, 0.0]] * 5, rtol=1e-6)


def test_the_way_a_module_is_called_and_the_code_belong_to_the_key(monkeypatch):
    key = skeleton.key(_tiny(), FORM)
    assert skeleton.key(_tiny(), FORM._replace(outputs=("z",))) != key
    assert skeleton.key(_tiny(), FORM._replace(dynamic={})) != key
    assert skeleton.key(_tiny(), FORM._replace(inputs={"x": torch.zeros(3, 3)})) != key
    monkeypatch.setattr(skeleton.lineage, "code_digest", lambda *rooms: "other code")
    assert skeleton.key(_tiny(), FORM) != key


@pytest.mark.parametrize("opaque", [lambda x: x, functools.partial(lambda x: x), iter(())])
def test_what_could_be_anything_is_traced_every_time(opaque, traced, tmp_path):
    with pytest.raises(Indescribable):
        describe(_tiny(activation=opaque))
    for _ in range(2):
        skeleton.model(_tiny(activation=opaque), FORM, FORM.outputs, tmp_path)
    assert len(traced) == 2
    assert not list(tmp_path.iterdir())


def test_a_tensor_that_is_no_weight_counts_with_its_content():
    """It becomes a constant of the trace, as do arrays; what is registered does not, wherever else it is named."""

    def holding(value: object, module: Tiny | None = None) -> Any:
        module = module or _tiny()
        module.activation = value
        return describe(module)

    assert holding(torch.ones(2)) == holding(torch.ones(2)) != holding(torch.zeros(2))
    one, other = _tiny(seed=1), _tiny(seed=2)
    assert holding([one.linear.weight], one) == holding([other.linear.weight], other)


@pytest.mark.parametrize("kind", [FineTune, LoRA, WiseFt])
def test_strategies_of_other_weights_have_one_description(kind, to_export):
    def make(seed: int):
        return kind(to_export(seed=seed).backbone, SPACE).eval()

    assert describe(make(0)) == describe(make(1))


ELSEWHERE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
sys.path.insert(0, {root!r} + "/tests")
import torch
torch.set_num_threads(1)
from conftest import EXPORTED_CLASSES, _strategy_to_export as make
from components.deployment.onnx_export import export

strategy = make(seed=1)
facts = {{"classes": EXPORTED_CLASSES, "preprocess": strategy.backbone.preprocess.to_dict(), "seed": 3}}
Path("remembered.onnx").write_bytes(export(strategy, facts, skeletons=Path({skeletons!r})))
print([name for name in ("onnxscript", "torch.onnx._internal.exporter", "onnx_ir") if name in sys.modules])
Path("fresh.onnx").write_bytes(export(strategy, facts))
"""


def test_a_retrained_model_has_a_fresh_export_s_bytes_in_another_process_and_place(exported, tmp_path):
    """Without the exporter's imports, which alone would take longer than the export may; and a fresh one there gives
    them, too, whatever the hashes of strings are."""
    skeletons = exported.with_name("skeletons")
    (traced_here,) = skeletons.iterdir()
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE.format(root=str(ROOT), skeletons=str(skeletons))],
        env={**os.environ, "PYTHONHASHSEED": "7"}, cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"
    assert list(skeletons.iterdir()) == [traced_here]  # it was found again there
    remembered, fresh = ((tmp_path / name).read_bytes() for name in ("remembered.onnx", "fresh.onnx"))
    assert remembered == fresh != exported.read_bytes()
