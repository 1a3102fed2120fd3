# The service on boards with JetPack 6 (those with JetPack 7 take service.gpu.Dockerfile).
#   docker build -f docker/service.jetson.Dockerfile -t segmif:jetson .
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
ARG TORCH_BASE=debian:13.7-slim

FROM ${TORCH_BASE} AS networks
ARG PIP_EXTRA_INDEX_URL
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh python3-venv
COPY . /src
WORKDIR /src
RUN docker/steps/networks.sh

FROM ${BASE} AS build
ARG CUDA_ARCHITECTURES=87
COPY docker/steps/python.sh docker/steps/jetpack6.sh docker/steps/bindings.sh /steps/
RUN /steps/python.sh python3-venv make g++
RUN /steps/jetpack6.sh
COPY . /src
WORKDIR /src
RUN PYTHON=/opt/python/python3 docker/steps/install.sh docker/requirements/jetpack6.txt
ADD https://github.com/NVIDIA/TensorRT.git#v10.3.0 /tensorrt
RUN PYTHONPATH=/tmp/pybind /steps/bindings.sh /tensorrt /opt/segmif/bin/python
RUN docker/steps/plugin.sh "${CUDA_ARCHITECTURES}"

FROM ${BASE}
ARG IMAGE_CUDA=12
COPY docker/steps/python.sh /steps/
RUN /steps/python.sh
COPY --from=build /opt/python /opt/python
COPY --from=build /opt/segmif /opt/segmif
COPY --from=build /plugin /opt/segmif/plugin
COPY --from=networks /networks /opt/segmif/networks
USER 10001
WORKDIR /var/cache/segmif
VOLUME /var/cache/segmif
ENV PATH=/opt/segmif/bin:$PATH \
    SEGMIF_HOST=0.0.0.0 \
    SEGMIF_WEIGHTS=/opt/segmif/networks/nano.onnx \
    SEGMIF_PLUGIN=/opt/segmif/plugin/libsegmif_plugin.so \
    ENGINE_CACHE=/var/cache/segmif \
    IMAGE_CUDA=${IMAGE_CUDA}
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=15m CMD ["python", "/opt/segmif/healthy.py"]
ENTRYPOINT ["python", "/opt/segmif/start.py"]
