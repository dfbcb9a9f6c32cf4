# Latchwatch as a container: a non-root user, nothing writable but /data (and /tmp, if it is given).
#   docker build -t latchwatch .
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The tools that build stay in this stage; what runs has its own environment without them, and without pip.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/latchwatch
COPY requirements.lock requirements-build.lock ./
RUN /opt/build/bin/pip --python /opt/latchwatch/bin/python install --require-hashes --no-deps -r requirements.lock
RUN /opt/build/bin/pip install --require-hashes --no-deps -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
RUN /opt/build/bin/hatchling build --target wheel --directory /dist \
    && /opt/build/bin/pip --python /opt/latchwatch/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/latchwatch/bin/python -m compileall -q /opt/latchwatch/lib

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Latchwatch" \
      org.opencontainers.image.description="Is this person's code really on that lock? A watch over access codes made through Seam." \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 latchwatch \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin latchwatch \
    && install --directory --owner latchwatch --group latchwatch --mode 0750 /data
COPY --from=build /opt/latchwatch /opt/latchwatch
ENV PATH=/opt/latchwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATABASE_URL=sqlite:////data/latchwatch.db \
    LATCHWATCH_HOST=0.0.0.0 \
    LATCHWATCH_PORT=8000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['LATCHWATCH_PORT'] + '/healthz', timeout=4)"]
CMD ["latchwatch", "serve"]
