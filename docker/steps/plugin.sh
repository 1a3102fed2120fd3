#!/bin/sh
# The attention's plugin, compiled by the base image's nvcc against its TensorRT, into /plugin.
#
#   plugin.sh ARCHITECTURES     compute capabilities without the point, as 87 or "80;90;120"
set -eu

apt-get update -qq
apt-get install -qq -y --no-install-recommends cmake make g++
rm -rf /var/lib/apt/lists/*
cmake -S export/plugin -B /tmp/plugin -D CMAKE_CUDA_ARCHITECTURES="$1" \
  -D CMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc
cmake --build /tmp/plugin --parallel
if ! test -f /tmp/plugin/libsegmif_plugin.so; then
  echo "no NvInferRuntime.h in this base image: take one with TensorRT's headers" >&2
  exit 1
fi
install -D --target-directory /plugin /tmp/plugin/libsegmif_plugin.so
rm -rf /tmp/plugin
