#!/bin/sh
# The entrypoint of GPU images. NVIDIA's server images turn on CUDA's forward compatibility in this file, which their own
# entrypoint reads. Without it, a newer image ends on an older driver if the container toolkit does not do it. Jetson's
# images have no such file.
if [ -r "${SHINIT:=/etc/shinit_v2}" ]; then
  . "$SHINIT"
fi
exec python "${START:-/opt/segmif/start.py}" "$@"
