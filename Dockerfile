# One image for the ingesters and the dashboard. docker build -t wakeful .
FROM python:3.11-slim

# What OpenCV wants of a slim image. Their versions come with the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/wakeful
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY models models
COPY monitor monitor
COPY dashboard dashboard
COPY configs configs
# The GPU's libraries that torch brings are most of the image. With an index of CPU builds:
# docker build --build-arg PIP_EXTRA_INDEX_URL=... -t wakeful .
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir -c constraints.txt '.[fleet,dashboard]'

# 1883 is the user of the broker's image: the same one reads the secrets that --owner gave it.
RUN useradd --uid 1883 --create-home wakeful && install -d -o wakeful /var/lib/wakeful
USER 1883
ENV WAKEFUL_HOME=/var/lib/wakeful
ENTRYPOINT ["wakeful"]
