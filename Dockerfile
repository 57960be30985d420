# One image for every service; the command decides which.
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 alphamill && mkdir /data && chown alphamill /data
WORKDIR /app
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY alphamill alphamill
COPY workers workers
COPY producers producers
RUN pip install --no-cache-dir .
USER alphamill
# Compiled kernels are kept beside the data: site-packages is not ours to write.
ENV ALPHAMILL_HOME=/data ALPHAMILL_LAKE=/data/lake NUMBA_CACHE_DIR=/data/numba
WORKDIR /data
ENTRYPOINT ["alphamill"]
CMD ["--help"]
