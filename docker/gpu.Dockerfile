# osplade for NVIDIA GPUs: CUDA 12 and cuDNN 9 come with the base image, ONNX Runtime's GPU build with pip. The host
# needs NVIDIA's driver and container toolkit. What else is to be known stands in cpu.Dockerfile.
#
#   docker build --file docker/gpu.Dockerfile --tag opensearch-splade:gpu .
#   docker run --rm --gpus all opensearch-splade:gpu serve splade-tiny --device cuda
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python3 -m venv /opt/osplade \
 && /opt/osplade/bin/pip install --no-cache-dir --constraint constraints.txt '.[aws,cluster,gpu,serve]'

FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /home/osplade osplade
COPY --from=build /opt/osplade /opt/osplade
ENV PATH=/opt/osplade/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/osplade
EXPOSE 9229
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=6 \
  CMD ["python3", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:9229/health', timeout=4)"]
ENTRYPOINT ["osplade"]
CMD ["serve", "splade-tiny", "--device", "cuda", "--host", "0.0.0.0", "--port", "9229"]
