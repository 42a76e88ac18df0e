"""What a bundle made of the images that it was tested with, kept for those that come later."""

from __future__ import annotations

import numpy as np
import pytest
from monitor_support import CLASSES, make_bundle, network, pictures

from components import jsonfile
from components.deployment import bundle
from components.errors import DataError
from components.inference.predictor import Predictor
from components.monitoring import reference


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "bundle")


def test_the_reference_is_what_the_bundle_says_of_the_images_in_the_code_that_serves_it(tmp_path, folder):
    images = pictures(70, seed=0)  # more than one batch
    votes = [0, reference.UNKNOWN] * 35
    identity = reference.write(tmp_path, folder, images, votes)
    assert identity == bundle.identity(bundle.read(folder))
    kept = reference.read(tmp_path, identity)

    predictor = Predictor.load(folder)
    predictions = list(predictor.predict(images))
    assert np.allclose(kept.sample.features, predictor.features(images), atol=1e-5)
    assert [CLASSES[place] for place in kept.sample.label] == [answer.class_name for answer in predictions]
    assert np.allclose(kept.sample.confidence, [answer.probability for answer in predictions], atol=1e-6)
    assert np.array_equal(kept.images, images)
    assert kept.votes is not None
    assert kept.votes.tolist() == votes
    assert kept.classes == tuple(CLASSES)
    assert kept.route == "fp32@cpu"
    assert reference.read(tmp_path, reference.write(tmp_path, folder, images[:5])).votes is None


def test_no_more_images_are_kept_than_asked_for_and_their_votes_go_with_them(tmp_path, folder):
    images = pictures(30, seed=0)
    images[:, 0, 0, 0] = np.arange(30)  # says which one it is
    kept = reference.read(tmp_path, reference.write(tmp_path, folder, images, np.arange(30), limit=10, seed=4))
    assert len(kept.images) == len(kept.sample.label) == 10
    assert kept.votes is not None
    assert kept.images[:, 0, 0, 0].tolist() == kept.votes.tolist() == sorted(set(kept.votes.tolist()))
    assert reference.chosen(30, 10, seed=4).tolist() == kept.votes.tolist()
    assert reference.chosen(30, 10, seed=5).tolist() != kept.votes.tolist()


def test_a_kill_while_a_reference_is_replaced_leaves_the_old_one_whole(tmp_path, folder, monkeypatch):
    identity = reference.write(tmp_path, folder, pictures(20, seed=0))
    before = reference.read(tmp_path, identity)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jsonfile, "write", die)  # when all but the last file is there
        with pytest.raises(KeyboardInterrupt):
            reference.write(tmp_path, folder, pictures(25, seed=1))
    after = reference.read(tmp_path, identity)
    assert np.array_equal(after.images, before.images)
    assert np.array_equal(after.sample.features, before.sample.features)

    reference.write(tmp_path, folder, pictures(25, seed=1))
    assert len(reference.read(tmp_path, identity).images) == 25
    assert len(list(reference.folder(tmp_path, identity).iterdir())) == 3


def test_what_is_missing_or_damaged_is_named(tmp_path, folder):
    with pytest.raises(DataError, match="graft promote keeps them"):
        reference.read(tmp_path, "0" * 64)
    with pytest.raises(DataError, match="there are no images"):
        reference.write(tmp_path, folder, pictures(3, seed=0)[:0])
    with pytest.raises(DataError, match="2 votes on 3 images"):
        reference.write(tmp_path, folder, pictures(3, seed=0), [0, 1])
    identity = reference.write(tmp_path, folder, pictures(3, seed=0))
    (answers,) = reference.folder(tmp_path, identity).glob("answers.*")
    answers.write_bytes(answers.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"answers.*is not a complete"):
        reference.read(tmp_path, identity)
    answers.unlink()
    with pytest.raises(DataError, match="cannot read"):
        reference.read(tmp_path, identity)


def test_images_that_another_route_answered_are_held_against_that_route(tmp_path):
    folder = make_bundle(tmp_path / "bundle", {"fp32": network(), "int8": network(0.9)})
    images = pictures(12, seed=0)
    known = reference.read(tmp_path, reference.write(tmp_path, folder, images))
    assert known.route == "fp32@cpu"
    assert reference.usual(np.array(["int8@cpu", "fp32@cpu", "int8@cpu"])) == "int8@cpu"
    assert reference.usual(np.array([])) is None
    by_int8 = reference.as_observed(known, folder, "int8@cpu")
    assert by_int8.route == "int8@cpu"
    assert np.allclose(by_int8.sample.features, 0.9 * known.sample.features, atol=1e-5)
    wanted = Predictor.load(folder, precision="int8", provider="cpu").features(images)
    assert np.allclose(by_int8.sample.features, wanted, atol=1e-5)
    other = make_bundle(tmp_path / "other", {"fp32": network(), "int8": network(0.8)}, strategy="dan")
    with pytest.raises(DataError, match=f"another bundle than {known.bundle[:8]} is in .*other by now"):
        reference.as_observed(known, other, "int8@cpu")
    for route in ("fp32@cpu", "fp16@tensorrt", None):
        assert reference.as_observed(known, folder, route) is known


def test_a_model_without_features_is_described_by_its_probabilities(tmp_path):
    folder = make_bundle(tmp_path / "bundle", {"fp32": network(features=False)})
    images = pictures(5, seed=0)
    kept = reference.read(tmp_path, reference.write(tmp_path, folder, images))
    probabilities = [list(answer.probabilities.values()) for answer in Predictor.load(folder).predict(images)]
    assert np.allclose(kept.sample.features, probabilities, atol=1e-6)
