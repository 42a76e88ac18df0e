"""Images in, class names out: the same steps as in training, and no file that Graft did not export."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data import images
from components.errors import DataError, ParamsError
from components.inference.predictor import Failure, Predictor
from predictor_support import ONE, SURE, answer, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def predictor(exported):
    return Predictor.load(exported, provider="cpu", options=ONE)


@pytest.fixture(scope="module")
def files(picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number, (height, width) in enumerate([(61, 40), (28, 28), (20, 20), (90, 30), (33, 64)]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(picture(height, width, seed=number)).save(paths[-1])
    return paths


def test_the_file_says_what_it_answers(predictor):
    assert predictor.classes == {"label": ["cat", "dog", "owl"]}
    assert (predictor.preprocess.size, predictor.preprocess.resize) == (24, 28)
    assert (predictor.provider, predictor.precision) == ("cpu", "fp32")


def test_predictions_come_in_order_whatever_the_batch_size(predictor, files):
    one, many, all_at_once = (list(predictor.predict(files, batch_size=size)) for size in (1, 2, None))
    assert len(one) == len(files)
    for a, b, c in zip(one, many, all_at_once, strict=True):
        assert a.class_name == b.class_name == c.class_name
        assert a.probability == pytest.approx(b.probability, abs=1e-5)
        assert a.probability == pytest.approx(c.probability, abs=1e-5)
    logits = predictor.logits(files, batch_size=2)["label"]
    names = np.array(predictor.classes["label"])
    assert [prediction.class_name for prediction in one] == names[logits.argmax(1)].tolist()


def test_an_answer_is_the_one_worked_out_by_hand(colours, plain):
    found = answer(load(colours()), plain(255, 0, 0))
    assert found.class_name == "red"
    assert found.probability == pytest.approx(SURE, abs=1e-6)
    assert list(found.probabilities) == ["red", "green", "blue"]
    assert found.probabilities["blue"] == pytest.approx((1 - SURE) / 2, abs=1e-6)
    assert found.tasks == {}


def test_every_kind_of_image_gives_the_same_pixels(predictor, files):
    for path in files:
        expected = predictor.pixels(path)
        assert expected.shape == (28, 28, 3)
        image = Image.open(path)
        array = np.asarray(image)
        alpha = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
        for same in (str(path), path.read_bytes(), image, array, alpha, image.convert("RGBA")):
            assert np.array_equal(predictor.pixels(same), expected)


def test_what_is_transparent_is_white_however_it_comes(predictor):
    pixels = np.zeros((30, 30, 4), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    for same in (pixels, Image.fromarray(pixels), stream.getvalue()):
        assert (predictor.pixels(same) == 255).all()


def test_a_large_jpeg_is_decoded_as_training_does(predictor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (301, 205, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=95)
    content = (tmp_path / "large.jpg").read_bytes()
    expected, _ = images.pixels(content, resize=28, size=28)
    whole = images.fit(images.decode(content), resize=28, size=28)
    assert not np.array_equal(expected, whole)
    for same in (content, tmp_path / "large.jpg", str(tmp_path / "large.jpg")):
        assert np.array_equal(predictor.pixels(same), expected)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1)], ids=str)
def test_a_grey_array_is_a_grey_image(predictor, shape):
    grey = np.arange(40 * 30, dtype=np.uint32).reshape(shape).astype(np.uint8)
    expected = predictor.pixels(Image.fromarray(grey.reshape(40, 30)))
    assert np.array_equal(predictor.pixels(grey), expected)
    assert (expected[..., 0] == expected[..., 2]).all()


def test_what_cannot_be_used_fails_in_its_place_and_the_rest_is_answered(colours, plain, tmp_path):
    red, blue = plain(255, 0, 0), plain(0, 0, 255)
    (tmp_path / "text.png").write_bytes(b"no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    wrong = {
        tmp_path / "text.png": "text.png is not an image",
        tmp_path / "empty.jpg": "empty.jpg is not an image: it is empty",
        tmp_path / "none.png": "none.png: No such file or directory",
        tmp_path: "it is a folder",
        "/dev/zero": "it is not a file",
        "a\0b": "null",
        stream.getvalue()[:-200]: "truncated",
        b"": "empty",
        None: "not a NoneType",
        7: "not a int",
    }
    arrays = [
        (red / 255, "uint8, from 0 to 255, but this one is float64"),
        (plain(0, 0, 0)[:0], r"not [0, 8, 3]"),
        (np.zeros((8, 8, 2), np.uint8), "not [8, 8, 2]"),
        (np.zeros(8, np.uint8), "not [8]"),
    ]
    cases = [*wrong.items(), *arrays]
    sources = [part for source, _ in cases for part in (source, blue)]
    for size in (1, 4, 100):
        found = list(load(colours()).predict([red, *sources], batch_size=size))
        assert found[0].class_name == "red"
        assert [answer.class_name for answer in found[2::2]] == ["blue"] * len(cases)
        for failure, (_, reason) in zip(found[1::2], cases, strict=True):
            assert isinstance(failure, Failure)
            assert reason in failure.reason
            assert "\n" not in failure.reason


def test_too_many_pixels_fail_by_the_limit_s_name(colours, plain):
    predictor = load(colours(), max_pixels=100)
    stream = io.BytesIO()
    Image.fromarray(plain(255, 0, 0, height=10, width=11)).save(stream, "PNG")
    for source in (stream.getvalue(), Image.open(stream)):
        (failure,) = predictor.predict([source])
        assert failure == Failure("the image has 11 × 10 pixels, but the limit is 100")
    assert answer(predictor, plain(255, 0, 0, height=10, width=10)).class_name == "red"


def test_an_image_that_would_grow_beyond_the_limit_is_refused(colours):
    """One pixel high and sixty thousand wide is small, but not with its shorter side resized."""
    predictor = load(colours())
    predictor.preprocess = predictor.preprocess.__class__(224, 224, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(DataError, match=r"would become 13440000 × 224"):
        predictor.pixels(np.zeros((1, 60000, 3), np.uint8))


def test_an_endless_iterator_is_read_as_far_as_it_is_needed(colours, plain):
    taken = []

    def endless():
        for number in count():
            taken.append(number)
            yield plain(*[(255, 0, 0), (0, 255, 0)][number % 2])

    found = [answer.class_name for answer in islice(load(colours()).predict(endless(), batch_size=4), 12)]
    assert found == ["red", "green"] * 6
    assert len(taken) <= 12 + 2 * 4


def test_threads_share_a_predictor(predictor, files):
    expected = list(predictor.predict(files))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda size: list(predictor.predict(files * 3, batch_size=size)), [1, 2, 3, 5] * 6))
    for answers in found:
        assert [told.class_name for told in answers] == [told.class_name for told in expected] * 3
        for told, same in zip(answers, expected * 3, strict=True):
            assert told.probability == pytest.approx(same.probability, abs=1e-5)


def test_one_image_that_is_not_loaded_yet_may_come_many_times(predictor):
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    for _ in range(3):
        image = Image.open(stream)  # reads the header alone; threads must not read on at the same time
        found = list(predictor.predict([image] * 8))
        assert {answer.probability for answer in found} == {answer(predictor, noise).probability}


def test_no_images_give_no_predictions(predictor):
    assert list(predictor.predict([])) == []
    with pytest.raises(DataError, match="no images"):
        predictor.logits([])


def test_a_batch_holds_at_least_one_image(predictor, files):
    with pytest.raises(ParamsError, match="batch_size is 0"):
        list(predictor.predict(files, batch_size=0))


def test_below_the_bundle_s_threshold_it_abstains(colours, plain):
    bundle = colours()
    pale = plain(255, 127, 0)  # logits 4, nearly 2 and 0
    sure = math.exp(4) / (math.exp(4) + math.exp(2) + 1)
    assert sure < 0.9 < SURE < 0.97
    assert [answer.abstain for answer in load(bundle).predict([plain(255, 0, 0), pale])] == [False, True]
    always, seldom = (load(bundle, coverage=share) for share in (1.0, 0.5))
    assert [answer.abstain for answer in always.predict([plain(255, 0, 0), pale])] == [False, False]
    assert [answer.abstain for answer in seldom.predict([plain(255, 0, 0), pale])] == [True, True]
    with pytest.raises(ParamsError, match=r"coverage 0\.7 has no threshold .* choose from: 1\.0, 0\.5"):
        load(bundle, coverage=0.7)


def test_a_bundle_without_thresholds_never_abstains(colours, plain):
    bundle = colours(abstain=None, abstain_below=None)
    assert not answer(load(bundle), plain(100, 100, 100)).abstain
    with pytest.raises(ParamsError, match="it has none at all"):
        load(bundle, coverage=0.5)


def test_further_tasks_are_answered_beside_the_first(colours, plain):
    tasks = colours(("fp32=tasks",), classes={"light": ["dark", "bright"], "label": ["red", "green", "blue"]})
    found = answer(load(tasks), plain(255, 0, 204))
    assert (found.class_name, list(found.tasks)) == ("red", ["light"])
    light = found.tasks["light"]
    assert light.class_name == "bright"
    assert light.probability == pytest.approx((1 + 0.8) / 3, abs=1e-6)
    assert light.probabilities["dark"] == pytest.approx(1 - (1 + 0.8) / 3, abs=1e-6)


def test_features_are_what_the_backbone_gives(colours, plain):
    found = load(colours()).features([plain(255, 0, 0), plain(0, 51, 255)])
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 0.2, 1]], atol=1e-6)
    with pytest.raises(DataError, match=r"not an image"):
        load(colours()).features([b"no"])
    tasks = colours(("fp32=tasks",), classes={"label": ["red", "green", "blue"], "light": ["dark", "bright"]})
    with pytest.raises(DataError, match=r"gives no features.* export\.features"):
        load(tasks).features([plain(1, 2, 3)])


def test_the_host_s_resize_and_the_graph_s_agree(predictor, files):
    """A client may send a raw image instead: the answer is nearly the same."""
    for path in files:
        raw = np.asarray(images.read(path))
        graph, host = predictor.run(raw[None])["logits"], predictor.run(predictor.pixels(path)[None])["logits"]
        np.testing.assert_allclose(graph, host, rtol=0, atol=0.03 * np.ptp(host) + 0.01)


@pytest.mark.parametrize(
    "batch", [np.zeros((1, 28, 28, 3)), np.zeros((28, 28, 3), np.uint8), np.zeros((1, 28, 28, 4), np.uint8)], ids=str
)
def test_a_batch_that_is_no_batch_of_pixels_is_refused(predictor, batch):
    with pytest.raises(DataError, match=r"must be uint8 \[images, height, width, 3\]"):
        predictor.run(batch)


def test_logits_want_every_image(predictor, files, tmp_path):
    """They prove parity, where no image may be left out."""
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png is not an image"):
        predictor.logits([files[0], tmp_path / "bad.png"])


def test_few_images_of_other_classes_are_support_enough(colours, plain):
    """Prototypes are the classes' mean colours, logits minus the squared distances to them."""
    folder = colours(("fp32", "int8", "support"))
    dark, light = [plain(0, 0, 0), plain(51, 51, 51)], [plain(204, 204, 204)]
    for precision in ("fp32", "int8"):  # support features are the exact file's
        predictor = load(folder, precision=precision).with_support({"night": dark, "day": light})
        assert predictor.classes == {"label": ["night", "day"]}
        assert predictor.precision == "fp32"
        night, day = predictor.predict([plain(51, 51, 51), plain(255, 255, 255)])
        assert (night.class_name, day.class_name, day.abstain) == ("night", "day", False)
        distances = 3 * 0.9**2, 3 * 0.2**2  # white is 1, the prototypes 0.1 and 0.8, in each of three channels
        expected = math.exp(-distances[1]) / (math.exp(-distances[0]) + math.exp(-distances[1]))
        assert day.probability == pytest.approx(expected, abs=1e-6)
    assert load(folder).classes["label"] == ["red", "green", "blue"]


def test_support_is_refused_where_it_cannot_help(colours, plain):
    some = {"a": [plain(1, 2, 3)], "b": [plain(3, 2, 1)]}
    with pytest.raises(DataError, match=r"a few-shot strategy .* \(.*prototypical.*\), and this is fine_tune"):
        load(colours(strategy="fine_tune")).with_support(some)
    with pytest.raises(DataError, match=r"is one file of a bundle, .* give the folder"):
        load(colours(("fp32", "support")) / "model.fp32.onnx").with_support(some)
    predictor = load(colours(("fp32", "support")))
    with pytest.raises(DataError, match="at least two classes, but the support has 1"):
        predictor.with_support({"a": [plain(1, 2, 3)]})
    with pytest.raises(DataError, match="no image of class 'b'"):
        predictor.with_support({"a": [plain(1, 2, 3)], "b": []})
    with pytest.raises(DataError, match="not an image"):
        predictor.with_support({"a": [plain(1, 2, 3)], "b": [b"x"]})


def test_predicting_imports_no_torch(exported):
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(stream, "PNG")
    image = exported.parent / "red.png"
    image.write_bytes(stream.getvalue())
    code = (
        "import sys, json; from pathlib import Path; from components.inference.predictor import Predictor;"
        "found = list(Predictor.load(Path(sys.argv[1]), provider='cpu').predict([Path(sys.argv[2])]));"
        "heavy = {'torch', 'torchvision', 'onnx', 'mlflow', 'prefect', 'pydantic', 'yaml', 'rich', 'typer', 'pyarrow',"
        " 'openvino'} & set(sys.modules);"
        "print(json.dumps([sorted(heavy), found[0].class_name]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported), str(image)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    heavy, name = json.loads(done.stdout)
    assert heavy == []
    assert name in ("cat", "dog", "owl")


def test_a_file_that_was_replaced_meanwhile_is_not_mixed_with_the_one_in_use(colours):
    bundle = colours()
    predictor = Predictor.load(bundle)
    colours(strategy="siamese")  # another model, at the same place
    with pytest.raises(DataError, match="was replaced"):
        predictor.run(np.zeros((1, 5, 9, 3), np.uint8))
    assert predictor.run(np.zeros((1, 8, 8, 3), np.uint8))["logits"].shape == (1, 3)
