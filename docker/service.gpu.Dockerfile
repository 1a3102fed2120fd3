# The service on NVIDIA's GPUs in servers, x86-64 and Arm.
#   docker build -f docker/service.gpu.Dockerfile -t segmif:gpu .
ARG BASE=nvcr.io/nvidia/tensorrt:26.07-py3
ARG TORCH_BASE=debian:13.7-slim

FROM ${TORCH_BASE} AS networks
ARG PIP_EXTRA_INDEX_URL
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh python3-venv
COPY . /src
WORKDIR /src
RUN docker/steps/networks.sh

FROM ${BASE} AS build
ARG CUDA_ARCHITECTURES="75;80;86;87;89;90;100;110;120"
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh python3-venv make g++
COPY . /src
WORKDIR /src
RUN SITE=--system-site-packages docker/steps/install.sh docker/requirements/gpu.txt
RUN docker/steps/plugin.sh "${CUDA_ARCHITECTURES}"

FROM ${BASE}
ARG IMAGE_CUDA=13
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh
COPY --from=build /opt/segmif /opt/segmif
COPY --from=build /plugin /opt/segmif/plugin
COPY --from=networks /networks /opt/segmif/networks
COPY --chmod=755 docker/nvidia.sh /opt/segmif/
COPY docker/steps/loads.py /steps/
RUN /opt/segmif/bin/python /steps/loads.py /opt/segmif/plugin/libsegmif_plugin.so
USER 10001
WORKDIR /var/cache/segmif
VOLUME /var/cache/segmif
ENV PATH=/opt/segmif/bin:$PATH \
    SEGMIF_HOST=0.0.0.0 \
    SEGMIF_WEIGHTS=/opt/segmif/networks/edge.onnx \
    SEGMIF_PLUGIN=/opt/segmif/plugin/libsegmif_plugin.so \
    ENGINE_CACHE=/var/cache/segmif \
    IMAGE_CUDA=${IMAGE_CUDA}
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=15m CMD ["python", "/opt/segmif/healthy.py"]
ENTRYPOINT ["tini", "-e", "143", "--", "/opt/segmif/nvidia.sh"]
