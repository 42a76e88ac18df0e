"""What params.yaml may say of images that come in, and of who adapts to them."""

from __future__ import annotations

import copy

import pytest

from components import params
from components.errors import ParamsError
from promotion_support import PROMOTE

STRATEGIES = {
    "fine_tune": {},
    "linear_probe": {},
    "source_only": {},
    "mcc": {},
    "supervised_mcc": {"strategy": "mcc", "target_labels": True},
    "distillation": {},
    "hard_sharing": {},
    "single": {"strategy": "dan", "recipe": {"batch_size": 1}},
    "many": {"strategy": "linear_probe", "views": 3},
}
GOOD = {
    "data": {"target": {"folder": "images"}, "recent": {"folder": "recent", "layout": None}},
    "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
    "compare": ["mcc", "fine_tune"],
    "students": [],
    "strategies": STRATEGIES,
    "promote": PROMOTE,
}


def _refusal(**changes) -> str:
    with pytest.raises(ParamsError) as caught:
        params.parse(copy.deepcopy(GOOD) | changes)
    return str(caught.value)


def test_with_recent_images_the_target_is_a_source():
    assert params.parse(GOOD).data.source is None
    assert _refusal(data={"target": {"folder": "images"}}) == "strategies.mcc needs source, but data.source is not set"


def test_but_there_is_nothing_to_pretrain_on():
    assert "which trains on the source" in _refusal(backbone={})


def test_recent_images_are_not_made_here():
    message = _refusal(data={"target": {"folder": "images"}, "recent": {"dataset": "printed_digits"}})
    assert message.startswith("data.recent.dataset is 'printed_digits', but images that come in are not made here")


def test_who_adapts_is_asked_for_before_anything_has_changed():
    plain = {"target": {"folder": "images"}}
    adapt = {"compare": ["source_only", "mcc"], "supervised": ["fine_tune", "supervised_mcc"]}
    loaded = params.parse(GOOD | {"data": plain, "compare": ["fine_tune"], "adapt": adapt})
    assert loaded.adapt.compare == ("source_only", "mcc")  # though there is no source: then, the target is one


@pytest.mark.parametrize(
    ("adapt", "part"),
    [
        ({"compare": ["mc"]}, "adapt.compare names 'mc', but strategies has no such entry; did you mean 'mcc'"),
        ({"supervised": ["fine_tun"]}, "adapt.supervised names 'fine_tun', but strategies has no such entry"),
        ({"compare": ["mcc", "mcc"]}, "adapt.compare names 'mcc' twice"),
        ({"compare": ["fine_tune"]}, "'fine_tune', which needs labels of the recent images: it belongs in adapt.supe"),
        ({"compare": ["supervised_mcc"]}, "which needs labels of the recent images"),
        ({"supervised": ["mcc"]}, "'mcc', which has no use for labels of the recent images: it belongs in adapt.comp"),
        ({"compare": ["distillation"]}, "which learns from a teacher"),
        ({"compare": ["single"]}, "strategies.single compares two domains in a batch: batch_size must be at least 2"),
        ({"supervised": ["many"]}, "strategies.many.views is 3, but embed.views is 1"),
        ({"supervised": ["hard_sharing"]}, "strategies.hard_sharing learns several tasks, but data.tasks is empty"),
    ],
)
def test_who_could_not_adapt_is_refused_by_name(adapt, part):
    message = _refusal(adapt=adapt)
    assert part in message
    assert "\n" not in message
