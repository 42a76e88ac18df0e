"""The service as an HTTP application: addresses, statuses and JSON. Which port it stands on is `server`'s matter."""

from __future__ import annotations

import contextlib
import heapq
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import asdict
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from components.inference import answers
from components.inference.serving import metrics, schemas
from components.inference.serving.limits import Refused, busy
from components.inference.serving.service import Answer, Question, Service
from components.inference.serving.uploads import Receiver, discard

LOG = logging.getLogger("graft.serve")
ENCODE = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
DESCRIPTION = "Images in, class names and probabilities out."
BUNDLE = "Graft-Bundle"
"""Header of an answer: the identity of the bundle that gave it."""


class Wish(NamedTuple):
    """The query: `top`: how many classes to name (None: all); `features`: whether to give them."""

    top: int | None
    features: bool


def build(service: Service, version: str) -> FastAPI:
    """The application. It starts and stops the service with itself."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        service.start()
        yield
        await service.stop()

    # The pages that FastAPI has for its documentation load scripts from elsewhere.
    app = FastAPI(
        title="graft serve",
        description=DESCRIPTION,
        version=version,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        openapi_url="/openapi.json",
    )
    app.add_exception_handler(HTTPException, _http_error)
    predicting = Predicting(service)

    class Direct(APIRoute):
        """Documented like any other and behind whatever stands before all routes, but without FastAPI's validation on
        the way, which takes 0.1 ms a request: half of a small network's time."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            return predicting.handle

    app.router.add_api_route(
        "/predict",
        _predict,
        methods=["POST"],
        route_class_override=Direct,
        name="predict",
        response_model=schemas.ImageAnswer | schemas.ImageAnswers,
        response_description="An object for an image that was the body, a list for a form.",
        responses={200: {"headers": schemas.HEADERS}, **schemas.REFUSALS},
        openapi_extra={"requestBody": schemas.REQUEST_BODY},
    )

    @app.get("/healthz", response_model=schemas.Health)
    async def healthz() -> Response:
        """The process lives."""
        return JSONResponse({"status": "alive"})

    @app.get(
        "/readyz",
        response_model=schemas.Health,
        responses={503: {"model": schemas.Health, "description": "Starting, or about to stop."}},
    )
    async def readyz() -> Response:
        """Requests are welcome: the model is loaded and has answered once."""
        return JSONResponse({"status": service.state}, 200 if service.state == "ready" else 503)

    @app.get("/metadata", response_model=schemas.Metadata, response_model_exclude_unset=True)
    async def metadata() -> Response:
        """What the model says of itself, how it runs here, and what this server takes."""
        return JSONResponse(_metadata(service))

    @app.get("/metrics", response_class=PlainTextResponse)
    async def measured() -> Response:
        """Which bundle answers and how often another took over, in Prometheus' text format."""
        return Response(metrics.text(service), media_type=metrics.TYPE)

    return app


async def _predict(
    top: Annotated[int | None, Query(ge=1, description="Name only that many classes.")] = None,
    features: Annotated[bool, Query(description="Give what the network made of the image, too.")] = False,
) -> None:
    """Classify an image, or several.

    A bad image among several has its reason in its place; where it is the only one, that is the answer, with the status
    for it.
    """


class Predicting:
    """POST /predict."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.receiver = Receiver(service.limits)

    async def handle(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Refused as refused:
            return await self._refuse(request, refused)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception:
            LOG.exception("a request failed")
            return _failure(500, "the model failed; the server's log says how")

    async def _answer(self, request: Request) -> Response:
        wish = self._wish(request)
        if self.service.full:
            raise busy(f"{self.service.capacity} images are waiting, the limit")
        upload = await self.receiver.read(request)
        try:
            questions = [Question(image, wish.features) for image in upload.images if isinstance(image, bytes)]
            answered = iter(await self.service.answer(questions))
        finally:
            self.receiver.release(upload)
        found = [next(answered) if isinstance(image, bytes) else image for image in upload.images]
        if len(found) == 1 and isinstance(found[0], Refused):
            raise found[0]
        self.service.answered += 1
        records = [_record(answer, wish) for answer in found]
        bundle = next((answer.bundle for answer in found if isinstance(answer, Answer)), None)
        headers = {} if bundle is None else {BUNDLE: bundle}
        return _json(records[0] if upload.single else {"predictions": records}, headers)

    def _wish(self, request: Request) -> Wish:
        if not request.scope["query_string"]:
            return Wish(None, False)
        top, features = request.query_params.get("top"), request.query_params.get("features", "false").lower()
        if top is not None and not (top.isascii() and top.isdecimal() and int(top) >= 1):
            raise Refused(400, f"top is {top!r}, but must be a whole number of at least 1")
        if features not in ("true", "false"):
            raise Refused(400, f"features is {features!r}, but must be true or false")
        if features == "true":
            self.service.model.require_features()
        return Wish(int(top) if top else None, features == "true")

    async def _refuse(self, request: Request, refused: Refused) -> Response:
        headers = dict(refused.headers)
        # A client that waits to be asked for its body is not asked.
        if "expect" in request.headers or not await discard(request, self.service.limits.request_bytes):
            headers["Connection"] = "close"
        return _failure(refused.status, refused.reason, headers)


def _record(answer: Answer | Refused, wish: Wish) -> dict[str, Any]:
    if isinstance(answer, Refused):
        return {"error": answer.reason}
    prediction = answer.prediction
    record = {**_task_record(prediction, wish.top), "abstain": prediction.abstain}
    if prediction.tasks:
        record["tasks"] = {task: _task_record(further, wish.top) for task, further in prediction.tasks.items()}
    if answer.features is not None:
        record["features"] = answer.features.tolist()
    return record


def _task_record(answer: answers.Answer, top: int | None) -> dict[str, Any]:
    probabilities = answer.probabilities
    if top is not None:
        probabilities = dict(heapq.nlargest(top, probabilities.items(), key=lambda entry: entry[1]))
    return {"class": answer.class_name, "probability": answer.probability, "probabilities": probabilities}


def _metadata(service: Service) -> dict[str, Any]:
    model = service.model
    predictor = model.predictor
    return {
        **predictor.facts,
        "bundle": model.identity,
        "release": model.release,
        "reloads": {"done": service.reloads, "refused": service.refused_reloads, "refusal": service.refusal},
        "precision": predictor.precision,
        "provider": predictor.provider,
        "abstain_below": predictor.abstain_below,
        "features": model.has_features,
        "limits": {**asdict(service.limits), "pixels": predictor.max_pixels},
        "batching": {
            "max_batch": model.max_batch,
            "max_delay_ms": 1000 * service.max_delay_s,
            "queue": service.capacity,
        },
    }


def _json(content: Any, headers: dict[str, str]) -> Response:
    return Response(ENCODE(content).encode(), media_type="application/json", headers=headers)


def _failure(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _failure(error.status_code, error.detail, dict(error.headers or {}))
