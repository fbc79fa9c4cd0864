# docker build -t brainseg-bids --build-arg VERSION=$(python setup.py --version) .
# GPU build: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
FROM python:3.11-slim-bookworm AS build

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python -m venv /opt/brainseg
ENV PATH=/opt/brainseg/bin:$PATH

# torch first and alone, so that a change of the code does not fetch it again
RUN pip install --index-url "${TORCH_INDEX}" 'torch>=2.6,<2.14'

WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY bidsapp bidsapp
COPY workflows workflows
COPY interfaces interfaces
COPY models models
COPY training training
RUN pip install '.' 'bids-validator-deno>=2.0' \
    && python -m compileall -q /opt/brainseg/lib


FROM python:3.11-slim-bookworm

ARG VERSION=unknown
LABEL org.opencontainers.image.title="brainseg-bids" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/brainseg /opt/brainseg

# Singularity mounts the image read-only and may leave HOME unset or unwritable: whatever a library wants to
# keep in a home goes to /tmp, which is writable there too.
ENV PATH=/opt/brainseg/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLBACKEND=Agg \
    NO_ET=1 \
    NIPYPE_NO_ET=1

RUN useradd --create-home --uid 1000 brainseg
USER 1000
WORKDIR /tmp

ENTRYPOINT ["brainseg-bids"]
CMD ["--help"]
