"""The four-block network of the few-shot papers: Vinyals et al., 2016, arXiv:1606.04080, sec. 4.1.1.

Each block is a 3x3 convolution with 64 filters, batch-norm, ReLU and 2x2 max-pooling. Pooling comes before the ReLU
here, which gives the same values, since both keep the order of numbers, on a quarter of the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from components.backbones.base import Backbone
from components.types import Preprocess

BLOCKS = 4
WIDTH = 64


class Conv4(Backbone):
    """Four blocks; the last one's output is flattened: 64 features for images of 28 pixels."""

    def __init__(self, size: int = 28) -> None:
        super().__init__()
        side = size // 2**BLOCKS
        if side < 1:
            raise ValueError(f"size is {size}, but four poolings need at least {2**BLOCKS} pixels")
        self.preprocess = Preprocess(size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.num_features = WIDTH * side * side
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(3 if block == 0 else WIDTH, WIDTH, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(WIDTH),
                    nn.MaxPool2d(2),
                    nn.ReLU(inplace=True),
                )
                for block in range(BLOCKS)
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        return self.blocks(image).flatten(1)

    def stages(self) -> Sequence[nn.Module]:
        return list(self.blocks)
