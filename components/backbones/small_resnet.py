"""A compact residual network for images of about 32 pixels: He et al., 2016, arXiv:1512.03385, sec. 4.2, made wider and
shallower, so that an ordinary CPU trains it in seconds.

The paper's CIFAR network keeps 16 channels at full resolution for a third of its depth. Here the stem halves the
resolution at once and the saved time is spent on width, and the paper's parameter-free shortcut (option A) gives way to
the 1x1 projection (option B), which needs no padding trick in the exported graph.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from components.backbones.base import Backbone
from components.types import Preprocess


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(Backbone):
    """Stem and three residual stages.

    `widths`: channels of the three stages, the last of which is D; `blocks`: residual blocks a stage.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), blocks: int = 1, size: int = 32) -> None:
        super().__init__()
        self.preprocess = Preprocess(size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.num_features = widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        bodies, channels_in = [], widths[0]
        for index, channels_out in enumerate(widths):
            layers = []
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                layers.append(Block(channels_in, channels_out, stride))
                channels_in = channels_out
            bodies.append(nn.Sequential(*layers))
        self.body = nn.Sequential(*bodies)
        self.pool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        return self.pool(self.body(self.stem(image))).flatten(1)

    def stages(self) -> Sequence[nn.Module]:
        return [self.stem, *self.body]
