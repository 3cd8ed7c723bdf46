# Holdfast for Kubernetes; docs/image.md says how to build it, pin it and check it.
#
# BUILDER needs a shell and Debian's Python; BASE needs that same Python at the same path, and
# nothing else. Pin both by digest: --build-arg BASE=NAME@sha256:…
ARG BUILDER=docker.io/library/debian:12-slim
ARG BASE=gcr.io/distroless/python3-debian12:nonroot
# What the labels say.
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=1970-01-01T00:00:00Z

FROM ${BUILDER} AS builder
RUN command -v strip >/dev/null || { apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends binutils python3-venv; }
WORKDIR /build
# pip stays in an environment of its own. Compiled files are made at the end, by one rule.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv pip && python3 -m venv --without-pip /opt/holdfast

# Dependencies first: they are built again only if the lock changes. A pip.conf and a bundle of
# CAs, for an index of your own, come as secrets, and no layer keeps them.
COPY requirements-build.lock requirements.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    pip/bin/pip install -q --no-compile --require-hashes --only-binary=:all: -r requirements-build.lock \
 && pip/bin/pip --python /opt/holdfast/bin/python3 install -q --no-compile \
      --require-hashes --only-binary=:all: -r requirements.lock
COPY scripts/trim_environment.py ./
RUN python3 trim_environment.py /opt/holdfast

# The project's own layer, a megabyte: a folder that holds what the dependencies' layer lacks.
FROM builder AS project
COPY . source/
RUN pip/bin/pip wheel -q --no-deps --no-build-isolation --no-index -w wheel ./source \
 && python3 -m venv --without-pip own \
 && pip/bin/pip --python own/bin/python3 install -q --no-compile --no-deps --no-index \
      wheel/*.whl \
 && python3 trim_environment.py own --layer-of /opt/holdfast

# What sets hosts up (docs/nodes.md): the bundle that hosts get, which is the program here, too.
# --build-context bundle=dist/holdfast names the folder that `make bundle` makes.
FROM ${BASE} AS node
COPY --from=bundle . /opt/bundle
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="holdfast-node" \
      org.opencontainers.image.description="Sets Kubernetes hosts up as Holdfast's nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
ENTRYPOINT ["/opt/bundle/holdfast", "node"]
CMD ["--help"]

FROM ${BASE} AS holdfast
COPY --from=builder /opt/holdfast /opt/holdfast
COPY --from=project /build/own /opt/holdfast
# After the layers, which are the same for every revision.
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="A distributed content store for Kubernetes fleets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Nothing may write next to the modules; all of them are compiled.
ENV PATH=/opt/holdfast/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
STOPSIGNAL SIGTERM
ENTRYPOINT ["holdfast"]
CMD ["serve"]

# What the chart's loads run, with the labels of the image below it, but for what it is. ghz comes
# as a build context: --build-context ghz=FOLDER.
FROM holdfast AS load
LABEL org.opencontainers.image.title="holdfast-load" \
      org.opencontainers.image.description="Loads for measuring Holdfast from inside a cluster"
COPY --from=ghz ghz /opt/holdfast/bin/ghz
COPY bench /opt/load/bench
ENV PYTHONPATH=/opt/load
ENTRYPOINT ["python3", "-m", "bench.inside"]
CMD ["--help"]

# Without a target, the image is the frontends'.
FROM holdfast
