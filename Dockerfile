# Two images, for amd64 and arm64:
#   docker build --target vehicle -t wakeful-vehicle .   # camera to alert; no torch
#   docker build -t wakeful .                            # ingesters and dashboard
FROM python:3.11-slim AS base

# What OpenCV and sounddevice want of a slim image. Their versions come with the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libportaudio2 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/wakeful
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY models models
COPY monitor monitor
COPY dashboard dashboard
COPY docs docs
COPY configs configs
# 1883 is the user of the broker's image: the same one reads the secrets that --owner gave it.
RUN useradd --uid 1883 --create-home wakeful && install -d -o wakeful /var/lib/wakeful
ENV WAKEFUL_HOME=/var/lib/wakeful
ENTRYPOINT ["wakeful"]

FROM base AS vehicle
RUN pip install --no-cache-dir -c constraints.txt . \
    && pip uninstall -y -r configs/vehicle-unused.txt
USER 1883
CMD ["run", "--quiet"]

FROM base AS fleet
RUN pip install --no-cache-dir -c constraints.txt '.[fleet,dashboard]'
USER 1883
