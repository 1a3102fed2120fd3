#!/bin/sh
# The project and all it needs into /opt/segmif, a virtual environment that holds no pip.
#
#   install.sh LOCK     run in the project's tree; LOCK is one of docker/requirements/*.txt
#
# PYTHON is the one to take, SITE=--system-site-packages lets it see the base image's packages.
set -eu

python=${PYTHON:-python3}
"$python" -m venv /tmp/build
"$python" -m venv --without-pip ${SITE:+"$SITE"} /opt/segmif

pip() {
  /tmp/build/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"
}
into() {
  pip --python /opt/segmif/bin/python install --quiet --no-deps --no-compile "$@"
}
pip install --quiet --require-hashes --requirement docker/requirements/build.txt
into --ignore-installed --require-hashes --only-binary :all: --requirement "$1"
/tmp/build/bin/python -m hatchling build --target wheel --directory /tmp/wheel
into /tmp/wheel/*.whl
# NumPy's tests and ONNX Runtime's tools for other networks: 26 MB that nothing here imports.
site=$(/opt/segmif/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$site/numpy" -type d -name tests -prune -exec rm -rf {} +
for unused in transformers quantization tools; do
  rm -rf "${site:?}/onnxruntime/$unused"
done
/opt/segmif/bin/python -m compileall -q /opt/segmif/lib  # the service's tree is read-only
cp docker/start.py docker/healthy.py /opt/segmif/
rm -rf /tmp/build /tmp/wheel
du -sh /opt/segmif
