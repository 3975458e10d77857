# atoms-exporter as a container: Python, the packages, nothing to build or install with, no root.
#   docker build -t atoms-exporter .
#   docker run --rm -p 9464:9464 -e ATOMS_API_KEY atoms-exporter
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv /opt/atoms-exporter
# What the exporter and a fleet of them need, in a layer of its own: it changes less often than the exporter.
COPY pyproject.toml constraints.txt ./
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['fleet'], sep='\n')" > requirements.txt \
    && /opt/atoms-exporter/bin/python -m pip install -r requirements.txt -c constraints.txt
COPY README.md LICENSE ./
COPY exporter exporter
RUN /opt/atoms-exporter/bin/python -m pip install --no-deps . \
    && /opt/atoms-exporter/bin/python -m pip uninstall --yes pip setuptools \
    && rm -f /opt/atoms-exporter/bin/[Aa]ctivate* \
    && mkdir /data

FROM ${PYTHON_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="atoms-exporter" \
    org.opencontainers.image.description="Prometheus metrics and OpenTelemetry traces of voice-agent calls on smallest.ai Atoms" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/atoms-exporter/atoms-exporter" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# Nothing here installs anything again: without pip there is less to patch and less to misuse.
RUN rm -rf /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* \
    /usr/local/lib/python3*/site-packages/setuptools* /usr/local/lib/python3*/site-packages/wheel* \
    /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* /usr/local/bin/python*-config \
    /usr/lib/python3/dist-packages/pip* /usr/lib/python3/dist-packages/setuptools* /usr/bin/pip* \
    /usr/share/python-wheels
COPY --from=build /opt/atoms-exporter /opt/atoms-exporter
# What is counted is kept here, in a file for each account, unless state.path says otherwise.
COPY --from=build --chown=65532:65532 /data /data
VOLUME ["/data"]
ENV PATH=/opt/atoms-exporter/bin:${PATH} STATE_DIRECTORY=/data PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /data
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "exporter.healthcheck"]
ENTRYPOINT ["atoms-exporter"]
CMD ["run"]
