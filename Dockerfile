# docker build -t brainseg-bids --build-arg VERSION=$(python3 setup.py --version) \
#     --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE=$(git remote get-url origin) .
# A GPU build: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
# `make image-check` executes these steps without Docker; `make apptainer.def` writes them for Apptainer.
# A digest in place of the tag gives the same base forever: --build-arg BASE=python@sha256:... (docs/installation.md).
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python3 -m venv /opt/brainseg
ENV PATH=/opt/brainseg/bin:$PATH
WORKDIR /src

# torch first and alone, so that a change of the code does not fetch it again; an empty TORCH_INDEX is pip's own index
COPY container/constraints.txt container/
RUN pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} --constraint container/constraints.txt \
    'torch>=2.6,<2.14'
RUN pip install --constraint container/constraints.txt setuptools

COPY setup.py pyproject.toml README.md LICENSE NOTICE ./
COPY bidsapp bidsapp
COPY workflows workflows
COPY interfaces interfaces
COPY models models
COPY training training
RUN pip install --constraint container/constraints.txt --no-build-isolation . bids-validator-deno

# What only builders need goes. -E ignores the PYTHONPATH and PYTHONHOME of a host, which Apptainer passes on; -B and -u
# stand for variables below that it ignores too.
RUN rm -rf /opt/brainseg/lib/python3*/site-packages/torch/include /opt/brainseg/lib/python3*/site-packages/torch/test \
    && find /opt/brainseg/lib -type d -name tests -path '*site-packages*' \
        \( -path '*/scipy/*' -o -path '*/pandas/*' -o -path '*/sklearn/*' -o -path '*/statsmodels/*' \) \
        -prune -exec rm -rf {} + \
    && sed -i '1s|python3*$|& -EBu|' /opt/brainseg/bin/brainseg /opt/brainseg/bin/brainseg-bids


FROM ${BASE}

ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="brainseg-bids" \
      org.opencontainers.image.description="BIDS App: brain MRI to masks, segmentations, volumes and template alignment" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/brainseg /opt/brainseg

# The results name the image (GeneratedBy in dataset_description.json).
ENV BRAINSEG_BIDS_IMAGE=brainseg-bids:${VERSION}

# Apptainer mounts the image read-only and may leave HOME unset or unwritable: what a library wants to keep in a
# home goes to /tmp.
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

# Old versions of Singularity bind only to folders that are there.
RUN useradd --create-home --uid 1000 brainseg \
    && mkdir /bids /out /work
USER 1000
WORKDIR /tmp

ENTRYPOINT ["brainseg-bids"]
CMD ["--help"]
