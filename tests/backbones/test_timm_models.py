"""timm's models: features, preprocessing, its own groups of layers as stages, and weights from where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn
from torch.nn import functional as F

from components.backbones import catalogue, hub
from components.backbones.build import build, load_weights, preprocess_of, stored_size
from components.backbones.timm_models import TimmBackbone, preprocess_of_model
from components.errors import DataError, MachineError, ParamsError
from components.types import Preprocess

CONVNEXT, VIT = "timm:convnext_atto.d2_in1k", "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"
# What timm keeps for tests: a hundredth of the weights, and the layers of the real ones.
TINY, TINY_VIT = "timm:test_convnext.r160_in1k", "timm:test_vit.r160_in1k"
# (features, stages): timm's coarse groups, from the stem to the last blocks, with which it puts a norm after them.
MODELS = {
    CONVNEXT: (320, 6),
    VIT: (192, 13),
    "timm:resnet10t.c3_in1k": (512, 5),
    "timm:mobilenetv3_small_050.lamb_in1k": (1024, 8),
    "timm:efficientnet_lite0.ra_in1k": (1280, 8),
    "timm:swin_tiny_patch4_window7_224.ms_in1k": (768, 6),
    "timm:deit_tiny_distilled_patch16_224": (192, 13),
    "timm:regnetx_002.pycls_in1k": (368, 5),
    "timm:rdnet_tiny.nv_in1k": (1040, 9),  # grouped finely only
    "timm:pit_ti_224.in1k": (256, 3),  # not grouped at all
}


def made(name: str, size: int | None = None) -> TimmBackbone:
    resize, _, interpolation = stored_size(name, "default", size)
    preprocess = preprocess_of(name, "default", size=resize, interpolation=interpolation, input_size=size)
    return build(name, preprocess=preprocess)


def features_of(whole: nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return whole.eval().forward_head(whole.forward_features(image), pre_logits=True)


@pytest.mark.parametrize("name", MODELS)
def test_features_and_stages(name):
    with torch.device("meta"), torch.no_grad():
        backbone = TimmBackbone(name).eval()
        called: list[int] = []
        stages = list(backbone.stages())
        for number, stage in enumerate(stages):
            for module in stage.modules():
                if next(module.parameters(recurse=False), None) is not None:
                    module.register_forward_hook(lambda module, inputs, output, number=number: called.append(number))
        side = backbone.preprocess.size
        assert backbone(torch.zeros(2, 3, side, side)).shape == (2, backbone.num_features)
    assert (backbone.num_features, len(stages)) == MODELS[name]
    assert called == sorted(called)
    assert set(range(1, len(stages))) <= set(called)
    found = [id(parameter) for stage in stages for parameter in stage.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == {id(parameter) for parameter in backbone.parameters()}


def test_preprocessing_is_what_timm_resolves():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert preprocess_of_model(CONVNEXT) == Preprocess(224, 256, mean, std, "bicubic")  # crop_pct 0.875
    assert preprocess_of_model(CONVNEXT, input_size=112) == Preprocess(112, 128, mean, std, "bicubic")
    half = (0.5, 0.5, 0.5)
    assert preprocess_of_model(VIT) == Preprocess(224, 248, half, half, "bicubic")  # floor(224 / 0.9)
    squashed = preprocess_of_model("timm:convnext_base.fb_in22k_ft_in1k_384")
    assert (squashed.size, squashed.resize) == (384, 384)


@pytest.mark.parametrize("name", [TINY, TINY_VIT])
def test_one_tiny_step(name):
    torch.manual_seed(0)
    backbone = made(name, 64).train()
    image = torch.randn(2, 3, 64, 64)
    F.cross_entropy(nn.Linear(backbone.num_features, 2)(backbone(image)), torch.tensor([0, 1])).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in backbone.parameters())
    with torch.no_grad():
        assert torch.equal(backbone.eval()(image), backbone(image))


@pytest.mark.parametrize("classes", [1000, 37, 0])
def test_a_file_with_any_number_of_classes_fits(classes, tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model("test_convnext", num_classes=classes)
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in whole.state_dict().items()}, "epoch": 3}, path)
    backbone = made(TINY, 64)
    load_weights(backbone, str(path))
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone.eval()(image), features_of(whole, image), rtol=1e-4, atol=1e-5)


def test_positions_are_resampled_and_half_precision_is_read(tmp_path):
    torch.manual_seed(2)
    whole = timm.create_model("test_vit")
    state = {key: value.to(torch.bfloat16) for key, value in whole.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    whole.load_state_dict(state)
    for size in (160, 64):
        backbone = made(TINY_VIT, size)
        load_weights(backbone, str(tmp_path / "model.safetensors"))
        assert backbone.model.pos_embed.shape == (1, 1 + (size // 16) ** 2, 64)
        whole.set_input_size((size, size))  # timm's own resampling
        image = torch.randn(1, 3, size, size)
        with torch.no_grad():
            torch.testing.assert_close(backbone.eval()(image), features_of(whole, image), rtol=1e-3, atol=1e-3)
        whole = timm.create_model("test_vit")
        whole.load_state_dict(state)


def test_the_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(
        DataError, match=r"model\.pth does not fit timm:test_convnext.*'fc.weight' is missing"
    ) as caught:
        load_weights(made(TINY, 64), str(path))
    assert "\n" not in str(caught.value)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def test_default_weights_come_from_the_hub_s_cache(cache):
    repository = cache / "models--timm--test_convnext.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    whole = timm.create_model("test_convnext")
    safetensors.torch.save_file(whole.state_dict(), snapshot / "model.safetensors")
    backbone = made(TINY, 64)
    assert load_weights(backbone, "default")["weights_file"] == "model.safetensors"
    assert torch.equal(backbone.model.stem[0].weight, whole.stem[0].weight)


def test_default_weights_that_cannot_be_had_say_where_the_file_belongs(cache, monkeypatch):
    def nobody(url: str) -> None:
        raise MachineError(f"{url} did not answer within 20 s")

    monkeypatch.setattr(hub, "reach", nobody)
    with pytest.raises(MachineError) as caught:
        load_weights(made(TINY, 64), "default")
    for part in ("did not answer", "huggingface.co/timm/test_convnext.r160_in1k", "backbone.weights", str(cache)):
        assert part in str(caught.value)


def test_offline_nobody_is_asked(cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "reach", lambda url: pytest.fail("asked"))
    with pytest.raises(MachineError, match="HF_HUB_OFFLINE is set"):
        load_weights(made(TINY, 64), "default")


def test_what_timm_does_not_have_is_refused_by_name():
    with pytest.raises(ParamsError, match=r"'timm:convnext_attoo', which timm lacks; did you mean 'convnext_atto'"):
        stored_size("timm:convnext_attoo", "default")
    with pytest.raises(ParamsError, match=r"timm has no such weights; did you mean 'd2_in1k'"):
        stored_size("timm:convnext_atto.d2_in1kk", "default")
    with pytest.raises(ParamsError, match=r"backbone\.weights is 'IMAGENET1K_V1'.*pretrain, default"):
        load_weights(made(TINY, 64), "IMAGENET1K_V1")
    with pytest.raises(ParamsError, match=r"cannot read images of 100 pixels \(backbone\.input_size\).*window"):
        stored_size("timm:maxvit_tiny_tf_224.in1k", "default", 100)


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"timm is not installed.*graft\[timm\]"):
        stored_size(CONVNEXT, "default")
    assert not any(name.startswith("timm:") for name in catalogue.candidates())


def test_all_its_pretrained_models_are_candidates():
    names = catalogue.candidates()
    assert CONVNEXT in names
    assert {"small_resnet", "resnet50"} < set(names)
    assert len(names) == len(set(names))
