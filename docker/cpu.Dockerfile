# osplade for CPUs: `serve`, and every other command that needs no torch.
#
#   docker build --file docker/cpu.Dockerfile --tag opensearch-splade:cpu .
#   docker run --rm opensearch-splade:cpu --help
#
# The default command listens to other machines and therefore refuses to start until it gets TLS and a token, or is told
# --insecure-listen (for a private network, as docker-compose.yml has one): docs/deployment.md.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/osplade \
 && /opt/osplade/bin/pip install --no-cache-dir --constraint constraints.txt '.[aws,cluster,cpu,serve]'

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /home/osplade osplade
COPY --from=build /opt/osplade /opt/osplade
ENV PATH=/opt/osplade/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/osplade
EXPOSE 9229
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:9229/health', timeout=4)"]
ENTRYPOINT ["osplade"]
CMD ["serve", "splade-tiny", "--host", "0.0.0.0", "--port", "9229"]
