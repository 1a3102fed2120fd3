#!/bin/sh
# What JetPack 6 lacks: a Python that still gets fixes and that our libraries run on, by uv into
# /opt/python, and into /tmp/pybind what TensorRT's bindings for it are compiled with.
set -eu

python3 -m venv /tmp/uv
/tmp/uv/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet uv==0.13.9
UV_PYTHON_INSTALL_DIR=/opt/python /tmp/uv/bin/uv python install --no-bin 3.12
ln -s "$(echo /opt/python/cpython-3.12*/bin/python3.12)" /opt/python/python3
/tmp/uv/bin/uv pip install --target /tmp/pybind pybind11==2.13.6
rm -rf /tmp/uv
