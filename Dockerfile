# One image, every command: `docker run firsthop edge …`.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /tmp/build \
    && /tmp/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && /tmp/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && python -m venv /opt/firsthop \
    && /opt/firsthop/bin/pip install --no-cache-dir --require-hashes -r requirements/controlplane.txt \
    && /opt/firsthop/bin/pip install --no-deps /tmp/wheel/*.whl

FROM python:3.12-slim
COPY --from=build /opt/firsthop /opt/firsthop
RUN useradd --uid 1000 --create-home --home-dir /var/lib/firsthop firsthop \
    && install --directory --owner firsthop /published
USER firsthop
WORKDIR /var/lib/firsthop
ENV PATH=/opt/firsthop/bin:$PATH FIRSTHOP_STATE_DIR=/var/lib/firsthop PYTHONUNBUFFERED=1
ENTRYPOINT ["firsthop"]
CMD ["--help"]
