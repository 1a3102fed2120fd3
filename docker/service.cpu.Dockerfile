# The service on CPUs, x86-64 and Arm:  docker build -f docker/service.cpu.Dockerfile -t segmif:cpu .
ARG BASE=debian:13.7-slim

FROM ${BASE} AS build
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh python3-venv
COPY . /src
WORKDIR /src
RUN docker/steps/install.sh docker/requirements/cpu.txt

FROM ${BASE}
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh
COPY --from=build /opt/segmif /opt/segmif
USER 10001
WORKDIR /var/cache/segmif
ENV PATH=/opt/segmif/bin:$PATH SEGMIF_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=1m CMD ["python", "/opt/segmif/healthy.py"]
ENTRYPOINT ["tini", "-e", "143", "--", "python", "/opt/segmif/start.py"]
