#!/bin/sh
# Python, tini (process 1: signals come through even while a program is still loading), libseccomp
# (which confines what decodes files) and the user whom the service runs as.
#
#   python.sh [PACKAGE...]     more packages, for the stages that build
set -eu

apt-get update -qq
apt-get install -qq -y --no-install-recommends python3 tini libseccomp2 "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/*cache.bin
find /usr/lib/python3* /usr/share -name '__pycache__' -prune -exec rm -rf {} +

useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
  --shell /usr/sbin/nologin segmif
install -d -o segmif -g segmif /var/cache/segmif /var/lib/segmif  # engines; recordings
