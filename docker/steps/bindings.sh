#!/bin/sh
# TensorRT's Python bindings for a Python that NVIDIA ships none for, from NVIDIA's sources of the
# same version, into that Python's packages.
#
#   bindings.sh SOURCES PYTHON     SOURCES with the parser's submodule; needs pybind11 in that
#                                  Python, g++, CUDA's and TensorRT's headers and libraries
set -eu

sources=$1/python
python=$2
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
pybind=$("$python" -c 'import pybind11; print(pybind11.get_include())')

mkdir -p "$packages/tensorrt" /tmp/bindings
find "$sources/src" -name '*.cpp' | while read -r file; do
  name=$(basename "$file" .cpp)
  echo "g++ $name"
  g++ -c -std=c++14 -O1 -fPIC -fvisibility=hidden -w -DTENSORRT_MODULE=tensorrt \
    -I"$sources/include" -I"$sources/docstrings" -I"$1/parsers" -I"$headers" -I"$pybind" \
    -I"${CUDA_HOME:-/usr/local/cuda}/include" ${TENSORRT_INCLUDE:+-I"$TENSORRT_INCLUDE"} \
    -o "/tmp/bindings/$name.o" "$file"
done
g++ -shared -o "$packages/tensorrt/tensorrt.so" /tmp/bindings/*.o \
  ${TENSORRT_LIB:+-L"$TENSORRT_LIB"} -lnvinfer -lnvonnxparser -lnvinfer_plugin
version=$(sed -n 's/^#define NV_TENSORRT_\(MAJOR\|MINOR\|PATCH\) \([0-9]*\).*/\2/p' \
  "$1/include/NvInferVersion.h" | paste -sd.)
sed "s/##TENSORRT_MODULE##/tensorrt/g; s/##TENSORRT_PYTHON_VERSION##/$version/g" \
  "$sources/packaging/bindings_wheel/tensorrt/__init__.py" > "$packages/tensorrt/__init__.py"
rm -r /tmp/bindings
