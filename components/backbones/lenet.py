"""The network of the digit experiments in domain adaptation: LeCun et al., 1998, "Gradient-based learning applied to
document recognition", in the size of Caffe's MNIST example, which Tzeng et al., 2017, arXiv:1702.05464, sec. 5.1 use.

5x5 convolutions of 20 and 50 channels, each with 2x2 max-pooling, and 500 fully connected units with ReLU. The first
layer has three input channels, as all backbones here; a grey image has the same values in each.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.types import Preprocess

SMALLEST = 16


class LeNet(Backbone):
    """image [B, 3, size, size] -> features [B, 500]. No batch normalisation."""

    def __init__(self, size: int = 28) -> None:
        if size < SMALLEST:
            raise ParamsError(f"lenet takes images of {SMALLEST} pixels a side or more, but they are of {size}")
        super().__init__()
        self.preprocess = Preprocess(size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.num_features = 500
        side = ((size - 4) // 2 - 4) // 2  # after two convolutions without padding, each halved
        self.conv1 = nn.Sequential(nn.Conv2d(3, 20, 5), nn.MaxPool2d(2), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU())
        self.full = nn.Sequential(nn.Flatten(), nn.Linear(50 * side * side, 500), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        return self.full(self.conv2(self.conv1(image)))

    def stages(self) -> Sequence[nn.Module]:
        return [self.conv1, self.conv2, self.full]
