"""`graft run --strategies`: who competes is written into params.yaml, and nothing else there changes."""

from __future__ import annotations

import pytest

from components import params
from components.errors import ParamsError
from graft import competitors

TEXT = """\
# what this file is
data:
  target: {folder: images}   # mine
  source: {dataset: printed_digits}
compare: [fine_tune]         # who competes
students: []                 # who learns from others
teacher: fine_tune
strategies:
  fine_tune:
    body_lr_factor: 1.0      # as it is
  linear_probe: {}
  distillation: {}
promote: {registered_model: toy, aim: better, min_gain: 0.0, margin: 0.01, min_speed_up: 1.2, max_class_loss: 0.05,
  max_slice_loss: 0.05, max_ece_gain: 0.03, max_latency_ratio: 2.0, max_size_ratio: 4.0, min_agreement: 0.995,
  max_known_loss: 0.05, approval: auto}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path


def _text(root) -> str:
    return (root / "params.yaml").read_text()


def test_all_sorts_students_from_the_others_and_keeps_comments(root):
    said = competitors.choose(root, "all")
    loaded = params.load(root)
    assert loaded.compare == ("fine_tune", "linear_probe")
    assert loaded.students == ("distillation",)
    assert "fine_tune, linear_probe, distillation" in said
    for comment in ("# what this file is", "# mine", "# who competes", "# who learns from others", "# as it is"):
        assert comment in _text(root)
    assert competitors.choose(root, "all").endswith("already.")


def test_names_are_taken_in_their_order_and_back_again(root):
    competitors.choose(root, "linear_probe, fine_tune")
    assert params.load(root).compare == ("linear_probe", "fine_tune")
    competitors.choose(root, "fine_tune")
    assert params.load(root) == params.parse(params_of(TEXT))


def params_of(text: str) -> dict:
    import yaml

    return yaml.safe_load(text)


@pytest.mark.parametrize(
    ("names", "part"),
    [("fine_tun", "did you mean 'fine_tune'"), ("", "compare is empty"), ("linear_probe,distillation", "teacher is")],
)
def test_who_cannot_compete_is_refused_and_the_file_left_alone(names, part, root):
    with pytest.raises(ParamsError, match=part):
        competitors.choose(root, names)
    assert _text(root) == TEXT
