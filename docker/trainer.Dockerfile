# The image of the stages' pods: training, evaluation and the other commands, on a GPU or on the CPU.
#
#   docker build -f docker/trainer.Dockerfile -t airtune-trainer .
#
# torch's wheels bring the CUDA libraries they need; the node brings the driver.
FROM python:3.12-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/airtune
COPY requirements-uv.txt requirements-build.txt requirements-trainer.txt ./
RUN /opt/airtune/bin/pip install --no-cache-dir --require-hashes -r requirements-uv.txt \
    && /opt/airtune/bin/uv pip install --python /opt/airtune/bin/python --no-cache --require-hashes --compile-bytecode \
      -r requirements-trainer.txt -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY include include
# The wheel carries include/configs, so the image needs no checkout.
RUN /opt/airtune/bin/uv pip install --python /opt/airtune/bin/python --no-cache --no-deps --no-build-isolation \
      --compile-bytecode .

FROM python:3.12-slim-bookworm
# FlexAttention's kernel is made for the GPU and the model when a run begins, and that takes a C compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --create-home airtune && mkdir /var/airtune && chown airtune /var/airtune
COPY --from=build /opt/airtune /opt/airtune
ENV PATH=/opt/airtune/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AIRTUNE_HOME=/var/airtune \
    GX_ANALYTICS_ENABLED=false \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /var/airtune
# The guard is process 1: it passes a stop signal on, waits for the checkpoint and leaves nothing behind.
ENTRYPOINT ["python", "-m", "airtune.guard", "--"]
CMD ["airtune", "--help"]
