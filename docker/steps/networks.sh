#!/bin/sh
# FP16 networks for engines, from the shipped weights, into /networks. Needs torch, which stays
# in this stage: PIP_EXTRA_INDEX_URL may name PyTorch's index of CPU builds, which are smaller.
set -eu

python3 -m venv /tmp/torch
/tmp/torch/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet '.[export]'
for network in nano edge; do
  /tmp/torch/bin/python -m export onnx --precision fp16 \
    --weights "weights/$network.safetensors" --out "/networks/$network.onnx"
done
rm -rf /tmp/torch
