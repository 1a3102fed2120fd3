#!/bin/sh
# Training and export over the torch that the base image has, into /opt/segmif, for a user whose
# runs go to /runs.
set -eu

SITE=--system-site-packages docker/steps/install.sh docker/requirements/train.txt
/opt/segmif/bin/python -c 'import segmif.training.train, segmif.export.to_onnx'  # the base image's torch fits
useradd --uid 10001 --user-group --no-create-home --home-dir /runs --shell /usr/sbin/nologin segmif
install -d -o segmif -g segmif /runs
