#!/bin/sh
# FP16 networks for engines, from the shipped weights, into /networks. Needs torch, which stays
# in this stage: PIP_EXTRA_INDEX_URL may name PyTorch's index of CPU builds, which are smaller.
set -eu

python3 -m venv /tmp/torch
pip() {
  /tmp/torch/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"
}
# All by hash but torch and what NVIDIA adds to it: another index has other files of them.
pip install --quiet --no-deps --require-hashes --requirement docker/requirements/train.txt
pip install --quiet torch==2.13.0
for network in nano edge; do
  /tmp/torch/bin/python -m export onnx --precision fp16 \
    --weights "weights/$network.safetensors" --out "/networks/$network.onnx"
done
rm -rf /tmp/torch
