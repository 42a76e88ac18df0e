"""What the server answers, on a loopback port, as its clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from components.inference.predictor import Predictor
from serving_support import connect, post, running, same


def test_an_image_as_the_body_is_answered_like_the_predictor_does(client, predictor, image):
    for seed, form in enumerate(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]):
        content = image(seed, form)
        (expected,) = predictor.predict([content])
        for kind in (f"image/{form.lower()}", "application/octet-stream", "IMAGE/PNG; a=b"):
            answer = client.post("/predict", content=content, headers={"Content-Type": kind})
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == "application/json"
            assert set(answer.json()) == {"class", "probability", "probabilities", "abstain"}
            assert same(answer.json(), expected)
            assert answer.json()["probability"] == pytest.approx(expected.probability, abs=1e-5)
            assert answer.json()["abstain"] == expected.abstain
    assert client.post("/predict", content=image()).status_code == 200, "without a Content-Type"


def test_a_form_is_answered_in_the_order_sent_whatever_the_fields_are_called(client, predictor, image):
    contents = [image(seed) for seed in range(5)]
    names = ["b", "a", "a", "файл", 'x"y']
    files = [(name, (f"{name}.png", content)) for name, content in zip(names, contents, strict=True)]
    answer = client.post("/predict", files=files)
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    assert all(same(one, expected) for one, expected in zip(found, predictor.predict(contents), strict=True))
    assert [one["class"] for one in client.post("/predict", files=files[:1]).json()["predictions"]] == [
        found[0]["class"]
    ]


def test_a_form_arrives_in_any_pieces(here, predictor, image):
    """Boundaries cut anywhere: every byte a packet of its own."""
    content = image(3, "JPEG", side=12)
    body = b"--q\r\nContent-Disposition: form-data; name=i; filename=i\r\n\r\n" + content + b"\r\n--q--\r\n"

    def pieces() -> Iterator[bytes]:
        for place in range(len(body)):
            yield body[place : place + 1]

    kind = {"Content-Type": "multipart/form-data; boundary=q"}
    answer = post(here, pieces(), headers=kind)
    assert same(answer.json()["predictions"][0], next(predictor.predict([content])))


def test_top_and_features_are_given_when_asked_for(client, predictor, image):
    content = image(1)
    everything = client.post("/predict", content=content).json()["probabilities"]
    assert list(everything) == ["cat", "dog", "owl"]
    two = client.post("/predict?top=2", content=content).json()["probabilities"]
    assert list(two.items()) == sorted(everything.items(), key=lambda entry: -entry[1])[:2]
    assert client.post("/predict?top=99", content=content).json()["probabilities"] == pytest.approx(everything)
    features = client.post("/predict?features=true", files={"a": content, "b": content}).json()["predictions"]
    for one in features:
        assert one["features"] == pytest.approx(predictor.features([content])[0].tolist(), abs=1e-4)


class TwoTasks:
    """The predictor with a second question, whose classes are the first one's the other way round."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.classes = {"label": predictor.classes["label"], "colour": ["red", "green", "blue"]}

    def __getattr__(self, name: str):
        return getattr(self._predictor, name)

    def output(self, kind: str, task: str) -> str:
        return f"{kind}_{task}"

    def run(self, batch: np.ndarray, names=None) -> dict[str, np.ndarray]:
        assert set(names) == {"probabilities_label", "probabilities_colour"}
        found = self._predictor.run(batch, ["probabilities"])["probabilities"]
        return {"probabilities_label": found, "probabilities_colour": found[:, ::-1]}


def test_further_tasks_are_answered_too(predictor, image):
    content = image()
    with running(TwoTasks(predictor)) as here:
        found = post(here, content).json()
    own = list(found["probabilities"].values())
    colour = found["tasks"]["colour"]
    assert colour["probabilities"] == {"red": own[2], "green": own[1], "blue": own[0]}
    assert colour["class"] == ["red", "green", "blue"][2 - own.index(max(own))]
    assert colour["probability"] == found["probability"] == max(own)
    assert list(found["tasks"]) == ["colour"]


def test_many_clients_get_their_own_answers(here, predictor, picture, image):
    """Every image has an answer of its own, so that a mix-up would show."""
    contents = [image(seed) for seed in range(96)]
    expected = list(predictor.predict(contents))
    assert len({round(one.probability, 6) for one in expected}) == len(contents)

    def client(first: int) -> list[dict]:
        with connect(here.url) as one:
            single = [one.post("/predict", content=content).json() for content in contents[first : first + 2]]
            files = [("image", ("x", content)) for content in contents[first : first + 3]]
            return single + one.post("/predict", files=files).json()["predictions"]

    with ThreadPoolExecutor(32) as pool:
        for first, found in zip(range(0, 96, 3), pool.map(client, range(0, 96, 3)), strict=True):
            asked = [expected[first], expected[first + 1], *expected[first : first + 3]]
            assert all(same(one, other) for one, other in zip(found, asked, strict=True))


def test_it_says_what_it_is(client, predictor):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    found = client.get("/metadata").json()
    assert found["classes"] == {"label": ["cat", "dog", "owl"]}
    assert found["preprocess"] == predictor.preprocess.to_dict() | {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    assert (found["precision"], found["provider"], found["seed"]) == ("fp32", "cpu", 3)
    assert found["limits"]["image_bytes"] == 20_000
    assert found["batching"] == {"max_batch": 4, "max_delay_ms": 5.0, "queue": 64}


def test_wrong_addresses_and_methods_are_answered_in_json(client):
    assert (client.get("/").status_code, client.get("/").json()) == (404, {"error": "Not Found"})
    wrong = client.get("/predict")
    assert (wrong.status_code, wrong.headers["allow"], list(wrong.json())) == (405, "POST", ["error"])
    assert client.get("/docs").status_code == 404, "its page loads scripts from another host"


def test_the_description_names_what_is_sent_and_answered(client, image):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {"/predict", "/healthz", "/readyz", "/metadata", "/metrics"}
    predict = description["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"image/*", "application/octet-stream", "multipart/form-data"}
    assert set(predict["responses"]) == {"200", "400", "408", "413", "415", "422", "500", "503"}
    assert {parameter["name"] for parameter in predict["parameters"]} == {"top", "features"}
    schemas = description["components"]["schemas"]
    answer = client.post("/predict?features=true", content=image()).json()
    assert set(answer) <= set(schemas["ImageAnswer"]["properties"])
    assert set(schemas["ImageAnswer"]["required"]) == {"class", "probability", "probabilities", "abstain"}
    assert list(schemas["Failure"]["properties"]) == ["error"]
