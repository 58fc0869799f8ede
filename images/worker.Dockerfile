# The worker: delivers notifications, writes summaries. No Kubernetes client, no Backtrader.
# Stages: what to build with → exactly the locked packages of one extra → our code → the image. A change of code rebuilds the last layer only.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG BUILD_IMAGE=${BASE_IMAGE}

FROM ${BUILD_IMAGE} AS tools
COPY images/build-requirements.txt /
RUN python3 -m venv /opt/tools && /opt/tools/bin/pip install -q --require-hashes -r /build-requirements.txt
ENV PATH=/opt/tools/bin:$PATH UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt

FROM tools AS lock
WORKDIR /src
COPY pyproject.toml uv.lock ./
RUN uv export -q --frozen --no-dev --no-emit-project --no-header --extra worker -o /requirements.txt

FROM tools AS packages
COPY --from=lock /requirements.txt /
# bytecode that is never checked against its source: the file system is read-only, and a start is faster
RUN uv venv -q --python "$(PATH=/usr/local/bin:/usr/bin command -v python3)" /opt/botfleet \
 && uv pip install -q --python /opt/botfleet --require-hashes --no-deps -r /requirements.txt \
 && find /opt/botfleet -type d -name tests -prune -exec rm -rf {} + \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/botfleet/lib

FROM tools AS code
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY fleet fleet
COPY worker worker
RUN uv pip install -q --python /opt/tools --no-build-isolation --no-deps --target /app . \
 && rm -rf /app/bin /app/.lock \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE_IMAGE}
RUN echo 'botfleet:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'botfleet:x:10001:' >> /etc/group \
 && rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip*
ENV PATH=/opt/botfleet/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
LABEL org.opencontainers.image.title="botfleet-worker" org.opencontainers.image.licenses="GPL-3.0-or-later"
USER 10001:10001
WORKDIR /tmp
COPY --from=packages /opt/botfleet /opt/botfleet
COPY --from=code /app /app
CMD ["python", "-m", "worker"]
