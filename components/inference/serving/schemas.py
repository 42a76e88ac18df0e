"""The shapes of the answers, for the documentation at /openapi.json. Answers are not passed through them: that would
take longer than a small network does."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class TaskAnswer(BaseModel):
    """The answer to one question about an image."""

    class_name: str = Field(alias="class", description="The most probable class.")
    probability: float = Field(ge=0, le=1, description="Of that class.")
    probabilities: dict[str, float] = Field(
        description="Of every class in the model's order; with `top`, of that many, the most probable first."
    )


class ImageAnswer(TaskAnswer):
    """What the model says of one image."""

    abstain: bool = Field(description="The model is less sure than it must be to answer by itself: ask a person.")
    tasks: dict[str, TaskAnswer] | None = Field(
        None, description="Answers to further questions about the image, by task, where the model has any."
    )
    features: list[float] | None = Field(None, description="What the network made of the image, with `features=true`.")


class Failure(BaseModel):
    """Why there is no answer."""

    error: str


class ImageAnswers(BaseModel):
    """Of a form: one entry for each of its files, in the order sent."""

    predictions: list[ImageAnswer | Failure]


class Health(BaseModel):
    status: str


class Reloads(BaseModel):
    """Other bundles that were put in the place of the one that the server was started with."""

    done: int = Field(description="Those that took over.")
    refused: int = Field(description="Those that could not.")
    refusal: str | None = Field(description="Why what lies there by now does not answer; null where it does.")


class Metadata(BaseModel):
    """What the model says of itself, how it runs here, and what this server takes."""

    model_config = ConfigDict(extra="allow")

    bundle: str | None = Field(description="The identity of the bundle that answers; null for a lone model file.")
    release: dict[str, Any] | None = Field(description="Version and time of its promotion, where it was promoted.")
    reloads: Reloads
    classes: dict[str, list[str]] = Field(description="Class names by task, in the order of the probabilities.")
    preprocess: dict[str, Any] = Field(description="How an image becomes the network's input; it happens here.")
    precision: str
    provider: str = Field(description="What computes: cpu, openvino, cuda or tensorrt.")
    abstain_below: float = Field(description="The probability under which an answer says `abstain`.")
    features: bool = Field(description="Whether `features=true` can be asked for.")
    limits: dict[str, float] = Field(description="See the sentences of the 413 and 408 answers.")
    batching: dict[str, float]


FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
IMAGE = {**FILE, "minLength": 1}
REQUEST_BODY = {
    "required": True,
    "description": "One image as it is, or a form with any number of files under any names.",
    "content": {
        "image/*": {"schema": IMAGE},
        "application/octet-stream": {"schema": IMAGE},
        "multipart/form-data": {
            "schema": {"type": "object", "additionalProperties": FILE, "minProperties": 1},
        },
    },
}
HEADERS = {"Graft-Bundle": {"schema": {"type": "string"}, "description": "The identity of the bundle that answered."}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "No image, a broken form, or a query parameter that means nothing."},
    408: {"model": Failure, "description": "The request did not arrive in time."},
    413: {"model": Failure, "description": "Too many bytes or too many images."},
    415: {"model": Failure, "description": "Not an image, or of a format that is not taken."},
    422: {"model": Failure, "description": "An image that cannot be decoded, or with too many pixels."},
    500: {"model": Failure, "description": "The model failed."},
    503: {
        "model": Failure,
        "description": "The queue is full: try again.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}},
    },
}
