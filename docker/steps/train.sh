#!/bin/sh
# Training and export over the torch that the base image has, into /opt/segmif, for a user whose
# runs go to /runs.
set -eu

python3 -m venv --system-site-packages /opt/segmif
/opt/segmif/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet \
  --constraint docker/requirements/train.txt '.[train,export]'
useradd --uid 10001 --user-group --no-create-home --home-dir /runs --shell /usr/sbin/nologin segmif
install -d -o segmif -g segmif /runs
