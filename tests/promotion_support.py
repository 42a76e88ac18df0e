"""The thresholds of a promotion, which a params.yaml cannot do without, for tests that are about other things."""

from __future__ import annotations

PROMOTE = {
    "registered_model": "toy",
    "aim": "better",
    "min_gain": 0.0,
    "margin": 0.01,
    "min_speed_up": 1.2,
    "max_class_loss": 0.05,
    "max_slice_loss": 0.05,
    "max_ece_gain": 0.03,
    "max_latency_ratio": 2.0,
    "max_size_ratio": 4.0,
    "min_agreement": 0.995,
    "max_known_loss": 0.05,
    "approval": "auto",
}
