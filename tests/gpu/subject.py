"""What the GPU check measures: one network in torch, and the files that Graft makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image
from torch import Tensor, nn

from components.backbones.build import build
from components.deployment import fp16, onnx_export, onnx_file
from components.deployment.candidates import int8_candidates
from components.params import ExportParams
from components.strategies.fine_tune import FineTune
from components.types import TASK, LabelSpace, Preprocess

CLASSES = tuple(f"class {number}" for number in range(10))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALIBRATION = 32
"""Images to find ranges by."""
BYTES = 2
"""Of a number in 16 bits."""


@dataclass(frozen=True)
class Subject:
    """`images`: uint8 [N, S, S, 3]; `normalised`: the same as the network takes them, float [N, 3, S, S]."""

    name: str
    size: int
    strategy: FineTune
    images: np.ndarray
    normalised: Tensor

    @classmethod
    def make(cls, name: str, size: int, count: int) -> Subject:
        """Random weights, with the batch-norm statistics that they have on the images: no weights need be fetched,
        speed does not depend on them, and differences of arithmetic only grow."""
        torch.manual_seed(0)
        preprocess = Preprocess(size=size, resize=size, mean=MEAN, std=STD)
        strategy = FineTune(build(name, preprocess=preprocess), LabelSpace({TASK: CLASSES}))
        images = np.stack([_picture(size, np.random.default_rng(seed)) for seed in range(count)])
        scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        normalised = (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        for module in strategy.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None  # the mean over all batches
        with torch.no_grad():
            for part in normalised.split(16):
                strategy.train()(part)
        return cls(name, size, strategy.eval(), images, normalised)

    @torch.inference_mode()
    def logits(self) -> np.ndarray:
        """By torch in fp32 on the CPU, [N, C]: what everything else is compared with."""
        return torch.cat([self.strategy(part)[TASK] for part in self.normalised.split(16)]).numpy()

    def files(self, folder: Path) -> dict[str, Path]:
        """The ONNX files fp32, fp16 and int8_symmetric."""
        network = onnx_export.network(self.strategy, features=False)
        models = {
            "fp32": network,
            "fp16": fp16.convert(network, self.normalised[:32].numpy())[0],
            "int8_symmetric": self._int8(network),
        }
        paths = {}
        for name, model in models.items():
            paths[name] = folder / f"model.{name}.onnx"
            onnx_file.save(
                onnx_export.assemble(
                    model,
                    preprocess=self.strategy.backbone.preprocess,
                    classes=self.strategy.label_space.classes,
                    temperature=None,
                    facts={},
                ),
                paths[name],
            )
        return paths

    def _int8(self, network: onnx.ModelProto) -> onnx.ModelProto:
        params = ExportParams(calibrators=("minmax",), calibration_images=CALIBRATION)
        return next(int8_candidates(network, self.normalised.numpy(), params, symmetric=True)).model

    @torch.inference_mode()
    def work(self) -> tuple[float, float]:
        """Of one image: floating-point operations, and bytes to move if every convolution's output is written and read
        once in 16 bits and nothing else is moved."""
        from torch.utils.flop_counter import FlopCounterMode

        numbers = 0

        def count(module: nn.Module, given: tuple, output: Tensor) -> None:
            nonlocal numbers
            numbers += output.numel()

        hooks = [m.register_forward_hook(count) for m in self.strategy.modules() if isinstance(m, nn.Conv2d)]
        with FlopCounterMode(display=False) as counter:
            self.strategy(self.normalised[:1])
        for hook in hooks:
            hook.remove()
        return float(counter.get_total_flops()), 2.0 * BYTES * numbers


def _picture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth like a photograph: uint8 [S, S, 3]."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
