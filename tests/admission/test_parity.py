"""What is admitted and what is refused, with the numbers and the images named."""

from __future__ import annotations

import numpy as np
import pytest

from components.admission import parity
from components.errors import ParityError
from components.params import ExportParams

LIMITS = ExportParams(min_agreement=0.9, logit_tolerance=0.01, near_tie=0.05)
NAMES = [f"image{number}.png" for number in range(20)]


def _logits() -> np.ndarray:
    """Twenty clear decisions for class 0."""
    return np.tile(np.array([[3.0, 0.0, 0.0]]), (20, 1))


def test_equal_answers_are_admitted_with_the_facts():
    facts = parity.check(_logits(), _logits() + 0.005, NAMES, LIMITS)
    assert facts["images"] == 20
    assert facts["agreement"] == 1.0
    assert facts["max_logit_difference"] == pytest.approx(0.005)
    assert facts["near_ties"] == []


def test_a_large_difference_is_refused_and_the_worst_image_named():
    found = _logits()
    found[3, 1] += 0.02
    found[7, 2] -= 0.5
    with pytest.raises(ParityError) as caught:
        parity.check(_logits(), found, NAMES, LIMITS)
    message = str(caught.value)
    assert "0.5" in message
    assert "export.logit_tolerance is 0.01" in message
    assert "2 of 20" in message
    assert "image7.png" in message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value):
    found = _logits()
    found[5, 0] = value
    with pytest.raises(ParityError, match=r"image5\.png"):
        parity.check(_logits(), found, NAMES, LIMITS)


def test_a_changed_decision_that_was_a_near_tie_is_admitted_and_listed():
    expected, found = _logits(), _logits()
    expected[4], found[4] = [1.004, 1.0, -9.0], [1.0, 1.004, -9.0]  # probabilities 0.501 and 0.499
    facts = parity.check(expected, found, NAMES, LIMITS)
    assert facts["agreement"] == pytest.approx(0.95)
    assert facts["near_ties"] == ["image4.png"]


def test_a_changed_decision_that_was_no_near_tie_is_refused_even_within_the_tolerance():
    expected, found = _logits(), _logits()
    expected[4], found[4] = [1.5, 1.0, -9.0], [1.0, 1.5, -9.0]
    limits = ExportParams(min_agreement=0.5, logit_tolerance=10.0, near_tie=0.05)
    with pytest.raises(ParityError, match=r"1 decisions differ that were no near-tie, among them image4\.png"):
        parity.check(expected, found, NAMES, limits)


def test_too_many_changed_near_ties_are_refused():
    expected, found = _logits(), _logits()
    expected[:3], found[:3] = [1.004, 1.0, -9.0], [1.0, 1.004, -9.0]  # 3 of 20: agreement 85 %
    with pytest.raises(ParityError) as caught:
        parity.check(expected, found, NAMES, LIMITS)
    message = str(caught.value)
    assert "85" in message
    assert "export.min_agreement" in message
    assert all(name in message for name in NAMES[:3])


def test_a_long_list_of_images_is_cut():
    expected, found = _logits(), _logits()
    found[:, [0, 1]] = found[:, [1, 0]]
    with pytest.raises(ParityError) as caught:
        parity.check(expected, found, NAMES, ExportParams(logit_tolerance=100.0))
    assert str(caught.value).count(".png") == parity.SHOWN


def test_whole_images_may_change_a_decision_only_as_far_as_their_pixels_explain():
    """Pixels move logits by 0.2 here, so two classes may swap places that lie closer together than 0.4."""
    native = _logits()
    raw = native.copy()
    raw[0, 1] += 0.2
    native[4], raw[4] = [1.3, 1.0, -9.0], [1.0, 1.3, -9.0]
    facts = parity.check_raw(native, raw, NAMES, LIMITS)
    assert facts["near_ties"] == ["image4.png"]
    assert facts["agreement"] == pytest.approx(0.95)
    assert facts["max_logit_difference"] == pytest.approx(0.3)
    native[4], raw[4] = [1.5, 1.0, -9.0], [1.0, 1.5, -9.0]
    with pytest.raises(ParityError, match=r"1 of 20 decisions differ by more than the pixels explain .* image4\.png"):
        parity.check_raw(native, raw, NAMES, LIMITS)


def test_whole_images_that_change_too_many_decisions_are_refused():
    native = _logits()
    raw = native.copy()
    raw[0, 1] += 0.2
    native[4:6], raw[4:6] = [1.3, 1.0, -9.0], [1.0, 1.3, -9.0]
    with pytest.raises(ParityError, match=r"2 of 20 decisions differ, but export\.min_precision_agreement allows 1"):
        parity.check_raw(native, raw, NAMES, LIMITS)


def test_whole_images_whose_answers_are_no_numbers_are_refused():
    raw = _logits()
    raw[5] = np.nan
    with pytest.raises(ParityError, match=r"1 of 20 are no numbers, such as image5\.png"):
        parity.check_raw(_logits(), raw, NAMES, LIMITS)


def test_probabilities_must_be_the_softmax_of_the_logits():
    logits = _logits()
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    parity.check_probabilities(logits, chances, NAMES, LIMITS)
    cold = np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True)
    with pytest.raises(ParityError, match=r"not the softmax of the logits on 20 of 20 images"):
        parity.check_probabilities(logits, cold, NAMES, LIMITS)


def test_class_names_are_compared_in_their_order():
    known = {"label": ("cat", "dog", "owl")}
    parity.check_names(known, {"label": ["cat", "dog", "owl"]})
    with pytest.raises(ParityError, match="2 class names stand in another order, 'owl' for 'dog', 'dog' for 'owl'"):
        parity.check_names(known, {"label": ["cat", "owl", "dog"]})
    with pytest.raises(ParityError, match="names 2 classes, the model has 3"):
        parity.check_names(known, {"label": ["cat", "dog"]})
    with pytest.raises(ParityError, match="tasks"):
        parity.check_names(known, {"breed": ["cat", "dog", "owl"]})
