# Three images out of one file:
#   docker build --target train   -t graft-train .     the whole pipeline; give it a GPU with `docker run --gpus all`
#   docker build --target predict -t graft-predict .   classifies files: onnxruntime, no torch, not root
#   docker build --target serve   -t graft-serve .     answers HTTP requests; docker run -p 127.0.0.1:8000:8000 graft-serve

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    DVC_NO_ANALYTICS=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
WORKDIR /app
COPY pyproject.toml requirements.lock README.md ./

FROM base AS train
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --compile-bytecode -r requirements.lock
COPY components components
COPY flows flows
COPY graft graft
COPY .dvc/config .dvc/config
COPY .dvcignore dvc.yaml params.yaml ./
# The image holds no git repository; DVC must be told.
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . && dvc config --local core.no_scm true
ENTRYPOINT ["graft"]
CMD ["run"]

FROM base AS predict
COPY components components
COPY flows flows
COPY graft graft
# The lock only bounds the versions here: of all it pins, this installs what `graft predict` imports.
RUN pip install --no-cache-dir --constraint requirements.lock . \
    && useradd --create-home --uid 1000 graft
COPY models/champion models/champion
USER graft
ENTRYPOINT ["graft", "predict"]

FROM base AS serve
COPY components components
COPY flows flows
COPY graft graft
RUN pip install --no-cache-dir --constraint requirements.lock ".[serve]" \
    && useradd --create-home --uid 1000 graft
COPY models/champion models/champion
USER graft
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# Inside the container every address, or nothing outside it could ask; what reaches it is for `docker run -p` to say.
# More arguments may follow: docker run … graft-serve --precision int8
ENTRYPOINT ["graft", "serve", "--host", "0.0.0.0", "--port", "8000"]
