"""What a model looked at: for each pixel, how much it spoke for the answer that was given.

Grad-CAM: Selvaraju et al., 2017, arXiv:1610.02391, sec. 3. With A^k the channels of the last map that still has a place
for everything, and y the logit of the answer: alpha_k = mean over places of dy/dA^k (eq. 1), and the heat map is
ReLU(sum over k of alpha_k A^k) (eq. 2), brought to the size of the image.

A vision transformer has tokens in place of a map. Its features are the class token's, so the patches' tokens matter for
the last time where the last attention reads them: the last module between which and the logit there is a gradient for
them. They are put back into the grid that they were cut from. A recurrent network has neither; for it the heat is the
gradient of the logit by the pixel, its largest absolute value over the colours (Simonyan et al., 2014, arXiv:1312.6034,
sec. 3).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.recurrent import SequenceBackbone
from components.explanation.features import networks
from components.strategies.base import Strategy
from components.types import Preprocess

GRAD_CAM, ON_TOKENS, INPUT_GRADIENT = "Grad-CAM", "Grad-CAM on tokens", "input gradient"


class HeatMaps(NamedTuple):
    """`method`: None where the answers have no gradient to explain them by; `heat` [M, S, S] in [0, 1]: each image's
    highest value is 1, or 0 where nothing spoke for the answer."""

    method: str | None
    heat: Tensor


def heat_maps(strategy: Strategy, image: Tensor, answers: Tensor) -> HeatMaps:
    """image [M, 3, size, size] preprocessed, answers [M]: the classes of the first task to explain -> a heat map for
    each image as it is stored: S is `preprocess.resize`, and what the centre crop cut off has no heat."""
    strategy.eval()
    preprocess = strategy.backbone.preprocess
    image = image.detach().clone().requires_grad_()
    # cuDNN's recurrent layers have a backward pass in training mode only. Elsewhere its settings stay: `flags` would
    # allow TF32 and sums in any order again.
    recurrent = isinstance(strategy.backbone, SequenceBackbone)
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        with _recording(strategy) as recorded:
            logits = next(iter(strategy(image).values()))
        # No image's answer depends on another image, so the sum has each one's own gradient.
        score = logits.gather(1, answers[:, None].to(logits.device)).sum()
        by_pixel = _gradient(score, image)
        if by_pixel is None or not by_pixel.isfinite().all():
            return HeatMaps(None, torch.zeros(0, preprocess.resize, preprocess.resize))
        method, heat = INPUT_GRADIENT, by_pixel.abs().amax(1)
        if not recurrent:
            for output in reversed(recorded):
                gradient = _gradient(score, output)
                if gradient is not None and (maps := _as_maps(output, gradient)) is not None:
                    method, heat = (GRAD_CAM if output.ndim == 4 else ON_TOKENS), grad_cam(*maps)
                    break
    return HeatMaps(method, _as_stored(heat.detach().float(), preprocess).cpu())


def grad_cam(activations: Tensor, gradient: Tensor) -> Tensor:
    """Both [M, K, h, w] -> [M, h, w]: eq. 1 and 2."""
    alpha = gradient.mean((2, 3), keepdim=True)
    return (alpha * activations).sum(1).relu()


@contextmanager
def _recording(strategy: Strategy) -> Generator[list[Tensor]]:
    """Every output of a module that may be maps [M, K, h, w] or tokens [M, T, D], in the order of their making; of the
    first network that is asked, where there are several."""
    outputs: dict[int, list[Tensor]] = {}

    def noting(number: int):
        def note(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.requires_grad and output.ndim in (3, 4):
                outputs.setdefault(number, []).append(output)

        return note

    recorded: list[Tensor] = []
    handles = [
        module.register_forward_hook(noting(number))
        for number, network in enumerate(networks(strategy))
        for module in network.modules()
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
        recorded += outputs[min(outputs)] if outputs else []


def _gradient(score: Tensor, tensor: Tensor) -> Tensor | None:
    """None where the score does not depend on the tensor, or has no slope anywhere."""
    if not score.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(score, tensor, retain_graph=True, allow_unused=True)
    return gradient if gradient is not None and bool(gradient.any()) else None


def _as_maps(output: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """Activations and gradient as maps [M, K, h, w] each; None for what has no places, or none that matter."""
    if output.ndim == 4:
        return (output, gradient) if min(output.shape[2:]) > 1 else None
    side = math.isqrt(output.shape[1])
    others = output.shape[1] - side**2  # the class token, where there is one, comes first
    if side < 2 or others > 1 or not gradient[:, others:].any():
        return None
    output, gradient = (part[:, others:].transpose(1, 2).unflatten(2, (side, side)) for part in (output, gradient))
    return output, gradient


def _as_stored(heat: Tensor, preprocess: Preprocess) -> Tensor:
    """[M, h, w] -> [M, S, S], each image's highest value 1."""
    heat = F.interpolate(heat[:, None], (preprocess.size, preprocess.size), mode="bilinear", align_corners=False)[:, 0]
    highest = heat.amax((1, 2), keepdim=True)
    heat = torch.where(highest > 0, heat / highest.clamp_min(torch.finfo(heat.dtype).tiny), 0.0)
    before = (preprocess.resize - preprocess.size) // 2
    after = preprocess.resize - preprocess.size - before
    return F.pad(heat, (before, after, before, after))
