"""What is lost where an image of known class is classified: one rule for all strategies, which a recipe chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from components.losses.focal import focal_cross_entropy
from components.types import Losses, Outputs


@dataclass(frozen=True)
class Criterion:
    """Cross-entropy; with a `gamma` above 0 the focal loss. `class_weights`: stream -> task -> [C] on the device of the
    training; none: all classes weigh alike."""

    gamma: float = 0.0
    class_weights: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __call__(
        self, outputs: Outputs, labels: dict[str, Tensor], *, stream: str = "target", label_smoothing: float = 0.0
    ) -> Losses:
        """Logits and labels by task, labels [B], or [B, C] as probabilities -> one term for each task of `outputs`,
        named after it. `stream`: where the images come from, because classes are of other sizes in another domain."""
        name = "focal" if self.gamma else "cross_entropy"
        return {
            f"{name}_{task}" if len(outputs) > 1 else name: focal_cross_entropy(
                logits,
                labels[task],
                gamma=self.gamma,
                class_weights=self.weights(task, stream=stream),
                label_smoothing=label_smoothing,
            )
            for task, logits in outputs.items()
        }

    def weights(self, task: str, *, stream: str = "target") -> Tensor | None:
        """What an image of each class weighs [C]; None where all weigh alike."""
        return self.class_weights[stream][task] if self.class_weights else None
