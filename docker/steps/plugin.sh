#!/bin/sh
# The attention's plugin, compiled by the base image's nvcc against its TensorRT, into /plugin.
#
#   plugin.sh ARCHITECTURES     compute capabilities without the point, as 87 or "80;90;120"
set -eu

python3 -m venv /tmp/cmake
/tmp/cmake/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet \
  --require-hashes --requirement docker/requirements/cmake.txt
/tmp/cmake/bin/cmake -S export/plugin -B /tmp/plugin -D CMAKE_CUDA_ARCHITECTURES="$1" \
  -D CMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc
/tmp/cmake/bin/cmake --build /tmp/plugin --parallel
if ! test -f /tmp/plugin/libsegmif_plugin.so; then
  echo "no NvInferRuntime.h in this base image: take one with TensorRT's headers" >&2
  exit 1
fi
install -D --target-directory /plugin /tmp/plugin/libsegmif_plugin.so
rm -rf /tmp/plugin /tmp/cmake
