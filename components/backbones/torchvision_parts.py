"""torchvision's classification models, taken apart: the steps from an image to the features that the last layer reads.

Every family of torchvision's writes its own `forward`, with pooling and flattening between its modules. Here each is a
plain sequence of named parts instead. Parts with parameters are the stages, cut where people freeze: a network's
resolutions, a transformer's blocks. What has no parameters is a part of its own, or goes with the stage before it. The
values are torchvision's: only the layer that makes the logits is left out, which is also the last one in practice (of
vgg the third linear layer, of convnext the linear layer after the norm, of squeezenet the last convolution).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor, nn

Model = Any  # torchvision's families share no type that names their parts
Parts = dict[str, nn.Module]


class SpatialMean(nn.Module):
    """[B, C, H, W] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean([2, 3])


class Rescaled(nn.Module):
    """An image normalised with ImageNet's statistics -> the same on the scale from -1 to 1, which the weights of
    Inception and GoogLeNet were trained on."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        self.register_buffer("scale", (std / 0.5).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", ((mean - 0.5) / 0.5).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale + self.shift


class Embedding(nn.Module):
    """An image [B, 3, S, S] -> tokens [B, 1 + (S / patch)^2, D], the class token first, each with its position."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.conv_proj, self.class_token = model.conv_proj, model.class_token
        self.pos_embedding, self.dropout = model.encoder.pos_embedding, model.encoder.dropout

    def forward(self, image: Tensor) -> Tensor:
        patches = self.conv_proj(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        return self.dropout(tokens + self.pos_embedding)


class ClassToken(nn.Module):
    """[B, T, D] -> [B, D]."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


def _alexnet(model: Model) -> Parts:
    return {
        **_cut(model.features, lambda module: isinstance(module, nn.Conv2d), "conv"),
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten()),
        **_cut(model.classifier[:-1], lambda module: isinstance(module, nn.Dropout), "fc", first=6),
    }


def _vgg(model: Model) -> Parts:
    layers = list(model.features)
    after_pooling = [module for before, module in pairwise(layers) if type(before) is nn.MaxPool2d]
    return {
        **_cut(model.features, lambda module: module in after_pooling, "block"),
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten()),
        **_cut(model.classifier[:-1], lambda module: isinstance(module, nn.Linear), "fc", first=6),
    }


def _squeezenet(model: Model) -> Parts:
    dropout, _, _, pool = model.classifier  # the last ReLU is of the logits: features are not negative as it is
    fires = _cut(model.features, _has_parameters, "fire")
    return {
        "stem": fires.pop("fire1"),  # the paper counts it too
        **fires,
        "pool": _named(dropout=dropout, avgpool=pool, flatten=nn.Flatten()),
    }


def _resnet(model: Model) -> Parts:
    return {
        "stem": _together(model, "conv1", "bn1", "relu", "maxpool"),
        **{name: model.get_submodule(name) for name in ("layer1", "layer2", "layer3", "layer4")},
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten()),
    }


def _regnet(model: Model) -> Parts:
    return {
        "stem": model.stem,
        **dict(model.trunk_output.named_children()),
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten()),
    }


def _densenet(model: Model) -> Parts:
    body = model.features
    return {
        "stem": _together(body, "conv0", "norm0", "relu0", "pool0"),
        **{f"denseblock{n}": _together(body, f"denseblock{n}", f"transition{n}") for n in (1, 2, 3)},
        "denseblock4": _named(denseblock4=body.denseblock4, norm5=body.norm5, relu=nn.ReLU(inplace=True)),
        "pool": _named(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()),
    }


def _googlenet(model: Model) -> Parts:
    return {
        "rescaled": Rescaled(),
        "stem": _together(model, "conv1", "maxpool1", "conv2", "conv3", "maxpool2"),
        "inception3a": model.inception3a,
        "inception3b": _together(model, "inception3b", "maxpool3"),
        **{f"inception4{letter}": model.get_submodule(f"inception4{letter}") for letter in "abcd"},
        "inception4e": _together(model, "inception4e", "maxpool4"),
        "inception5a": model.inception5a,
        "inception5b": model.inception5b,
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten(), dropout=model.dropout),
    }


def _inception(model: Model) -> Parts:
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2")
    return {
        "rescaled": Rescaled(),
        "stem": _together(model, *stem),
        **{name: child for name, child in model.named_children() if name.startswith("Mixed_")},
        "pool": _named(avgpool=model.avgpool, dropout=model.dropout, flatten=nn.Flatten()),
    }


def _mnasnet(model: Model) -> Parts:
    layers = list(model.layers)
    return {
        "stem": nn.Sequential(*layers[:8]),
        **{f"stack{number}": stack for number, stack in enumerate(layers[8:14], 1)},
        "conv_head": nn.Sequential(*layers[14:]),
        "pool": _named(mean=SpatialMean(), dropout=model.classifier[0]),
    }


def _shufflenet(model: Model) -> Parts:
    return {
        "stem": _together(model, "conv1", "maxpool"),
        **{name: model.get_submodule(name) for name in ("stage2", "stage3", "stage4", "conv5")},
        "pool": SpatialMean(),
    }


def _mobilenet_v2(model: Model) -> Parts:
    return {
        **_bottlenecks(model.features),
        "pool": _named(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), dropout=model.classifier[0]),
    }


def _mobilenet_v3(model: Model) -> Parts:
    return {
        **_bottlenecks(model.features),
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten()),
        "linear": model.classifier[:-1],
    }


def _bottlenecks(features: Model) -> Parts:
    first, *blocks, last = features
    numbered = {f"bottleneck{number}": block for number, block in enumerate(blocks, 1)}
    return {"stem": first, **numbered, "conv_head": last}


def _efficientnet(model: Model) -> Parts:
    first, *stages, last = model.features
    return {
        "stem": first,
        **{f"stage{number}": stage for number, stage in enumerate(stages, 1)},
        "conv_head": last,
        "pool": _named(avgpool=model.avgpool, flatten=nn.Flatten(), dropout=model.classifier[0]),
    }


def _convnext(model: Model) -> Parts:
    norm, flatten, _ = model.classifier
    return {**_pyramid(model.features), "pool": model.avgpool, "norm": _named(norm=norm, flatten=flatten)}


def _swin(model: Model) -> Parts:
    return {
        **_pyramid(model.features),
        "norm": model.norm,
        "permute": model.permute,
        "pool": _named(avgpool=model.avgpool, flatten=model.flatten),
    }


def _pyramid(features: Model) -> Parts:
    """Stem and blocks in turn with what halves the resolution, which goes with the blocks that it is for."""
    stem, first, *rest = features
    pairs = enumerate(zip(rest[::2], rest[1::2], strict=True), 2)
    return {
        "stem": stem,
        "stage1": first,
        **{f"stage{number}": _named(downsample=halved, blocks=blocks) for number, (halved, blocks) in pairs},
    }


def _maxvit(model: Model) -> Parts:
    pool, flatten, norm, linear, tanh, _ = model.classifier
    return {
        "stem": model.stem,
        **{f"block{number}": block for number, block in enumerate(model.blocks, 1)},
        "pool": _named(avgpool=pool, flatten=flatten),
        "pre_logits": _named(norm=norm, linear=linear, tanh=tanh),
    }


def _vit(model: Model) -> Parts:
    return {
        "embedding": Embedding(model),
        **{f"block{number}": block for number, block in enumerate(model.encoder.layers, 1)},
        "norm": model.encoder.ln,
        "class_token": ClassToken(),
    }


FAMILIES: dict[str, Callable[[Model], Parts]] = {
    "AlexNet": _alexnet, "ConvNeXt": _convnext, "DenseNet": _densenet, "EfficientNet": _efficientnet,
    "GoogLeNet": _googlenet, "Inception3": _inception, "MaxVit": _maxvit, "MNASNet": _mnasnet,
    "MobileNetV2": _mobilenet_v2, "MobileNetV3": _mobilenet_v3, "RegNet": _regnet, "ResNet": _resnet,
    "ShuffleNetV2": _shufflenet, "SqueezeNet": _squeezenet, "SwinTransformer": _swin, "VGG": _vgg,
    "VisionTransformer": _vit,
}  # fmt: skip


def taken_apart(model: Model) -> nn.Sequential:
    """The same modules in the order of their use, up to the features [B, D]."""
    return _named(**FAMILIES[type(model).__name__](model))


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _together(model: Model, *names: str) -> nn.Sequential:
    return _named(**{name: model.get_submodule(name) for name in names})


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _cut(sequence: nn.Sequential, begins: Callable[[nn.Module], bool], name: str, first: int = 1) -> Parts:
    """The sequence in pieces, each from a module that `begins` one to the next; `first`: the number of the first."""
    pieces: list[list[nn.Module]] = [[]]
    for module in sequence:
        if pieces[-1] and begins(module):
            pieces.append([])
        pieces[-1].append(module)
    return {f"{name}{number}": nn.Sequential(*piece) for number, piece in zip(count(first), pieces, strict=False)}
