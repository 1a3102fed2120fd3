.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PORT ?= 8000
MINUTES ?= 10
CONFIG ?= training/configs/nano.toml
CONFIGS ?= training/configs
TAUGHT ?= runs/taught
VARIANT ?= nano
WEIGHTS ?= weights/$(VARIANT).safetensors
ATTENTION ?= plugin
GPU_PYTHON ?= python3
ENGINE ?= docker
PROFILE ?= cpu
SECRETS ?= docker/secrets
JETPACK ?= 7
IMAGE ?= segmif:cpu
PYTHON ?= $(PY)
PYTHONS ?= python3.13 python3.12 python3.11 python3

PY := .venv/bin/python
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

# The browser of the page's tests. Ubuntu's package is only a link to a snap; its tests take Chrome if there is one.
CHROMIUM := $(if $(filter ID=debian,$(shell cat /etc/os-release 2>/dev/null)),chromium)
# Real servers that tests talk to, and what watches ours; without them those tests are skipped.
SERVERS := libfaketime mosquitto nginx-light prometheus systemd strace python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good $(CHROMIUM)

.PHONY: help install servers serve test ray-check check format soak fuzz train teach release ablation worth export-onnx plugin export-trt gpu-check benchmark \
  image-cpu image-gpu image-jetson image-train image-check image-lock image-digests sbom up clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.dev ## set up .venv with everything that training, export and the tests need

# No server starts by itself: RUNLEVEL=1 tells Debian's scripts so.
servers: ## install the real servers that tests talk to (Debian, Ubuntu)
	$(SUDO) apt-get update -qq
	$(SUDO) env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	  apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 $(SERVERS)

serve: .venv/.serve ## run the service on PORT (8000); sets itself up, needs no torch
	$(PY) -m service serve --port $(PORT)

# xdist would keep the files with the fewest tests for the end: among them are slow ones, and one worker would wait.
test: .venv/.dev ## run the tests; sets itself up
	$(PY) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

ray-check: .venv/.dev ## install the extra ray, and run the tests that start Ray (a minute of CPU time)
	@$(PIP) --editable '.[ray]'
	$(PY) -m pytest -m ray

check: .venv/.dev ## lint, format, types and import rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

format: .venv/.dev ## put imports and layout in order
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

soak: .venv/.dev ## load the service for MINUTES (10) with clients that crash; fails where it grows or forgets an answer
	$(PY) -m benchmarks.service.soak --minutes $(MINUTES)

fuzz: MINUTES = 1
fuzz: .venv/.dev ## structured input into readers and service for MINUTES (1), always new; fails if anything breaks
	$(PY) -m tests.hostile.fuzz $(MINUTES)

# A step allocates and frees gigabytes; glibc would hand each large block back to the kernel and fault its pages in anew
# (a step took 2.3 s so, 1.8 s with the blocks kept).
KEEP_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=500000000

train: .venv/.dev ## train by CONFIG (training/configs/nano.toml) with TRAIN_FLAGS; the weights lie in runs/CONFIG, those in weights/ stay
	$(KEEP_MEMORY) $(PY) -m training train --config $(CONFIG) $(TRAIN_FLAGS)

# The folder of a run, and how to go on with it if an interrupted run left its state there.
RUN_IN = --folder $(1) $(if $(wildcard $(1)/checkpoint.pt $(1)/finish.pt),--resume)

teach: .venv/.dev ## paper, edge by it and nano by edge, into TAUGHT (runs/taught); goes on if it was stopped; for a GPU, or CONFIGS=training/configs/rehearsal
	$(KEEP_MEMORY) $(PY) -m training train --config $(CONFIGS)/paper.toml $(call RUN_IN,$(TAUGHT)/paper) --out $(TAUGHT)/paper.safetensors
	$(KEEP_MEMORY) $(PY) -m training train --config $(CONFIGS)/edge.toml $(call RUN_IN,$(TAUGHT)/edge) --out $(TAUGHT)/edge.safetensors \
	  --teacher $(TAUGHT)/paper.safetensors
	$(KEEP_MEMORY) $(PY) -m training train --config $(CONFIGS)/nano.toml $(call RUN_IN,$(TAUGHT)/nano) --out $(TAUGHT)/nano.safetensors \
	  --teacher $(TAUGHT)/edge.safetensors

# The configs by which a variant is made, one after the other, each from the weights of the one before; where the last one's weights lie.
# $(1): -without-N or nothing. What an interrupted run left is gone on with.
# A part NAME+NAME is the mean of what two earlier ones made.
PARTS_edge := edge edge-second edge-fusion edge-third edge-fusion-third edge-fourth edge-fusion-fourth edge-fifth \
  edge-fusion-fourth+edge-fifth edge-sixth edge-fusion-sixth
PARTS_nano := nano nano-second nano-fusion nano-third nano-fusion-third nano-fourth nano-fusion-fourth
PARTS = $(or $(PARTS_$(VARIANT)),$(VARIANT))
MADE = runs/$(lastword $(PARTS))$(1)/$(VARIANT).safetensors
define TRAINED
	set -e; start=; for part in $(PARTS); do resume=; \
	  if [ -e runs/$$part$(1)/checkpoint.pt ] || [ -e runs/$$part$(1)/finish.pt ]; then resume=--resume; fi; \
	  case $$part in \
	    *+*) mkdir -p runs/$$part$(1); $(PY) -m lab mean --out runs/$$part$(1)/$(VARIANT).safetensors \
	      --weights runs/$${part%+*}$(1)/$(VARIANT).safetensors runs/$${part#*+}$(1)/$(VARIANT).safetensors;; \
	    *) $(KEEP_MEMORY) $(PY) -m training train --config training/configs/$$part.toml $(2) $$start $$resume;; \
	  esac; \
	  start="--weights runs/$$part$(1)/$(VARIANT).safetensors"; done
endef

release: VARIANT = edge
release: .venv/.dev ## VARIANT (edge) anew into runs by its configs: weights, their counts on a group left out, ONNX; goes on if it was stopped
	$(call TRAINED,-without-3,--leave-out 3)
	$(PY) -m training holdout --weights $(call MADE,-without-3) --fold 3 --json runs/$(VARIANT)-without-3/holdout.json
	$(call TRAINED)
	$(PY) -m export onnx --weights $(call MADE)

ablation: .venv/.dev ## what each part is worth: runs what has no result yet, writes docs/results-ablation.md
	$(KEEP_MEMORY) $(PY) -m lab ablation --table docs/results-ablation.md

worth: .venv/.dev ## what a fused frame is worth to a segmenter: the same, writes docs/results-worth.md
	$(KEEP_MEMORY) $(PY) -m lab worth --table docs/results-worth.md

export-onnx: .venv/.dev ## WEIGHTS (weights/VARIANT.safetensors, nano) to an ONNX file beside it
	$(PY) -m export onnx --weights $(WEIGHTS) --out $(WEIGHTS:.safetensors=.onnx)

plugin: ## compile the attention kernels and, where TensorRT's headers are, its plugin for this GPU (needs nvcc, cmake)
	cmake -S export/plugin -B build/plugin $(CMAKE_FLAGS)
	cmake --build build/plugin --parallel

export-trt: .venv/.dev ## WEIGHTS (weights/VARIANT.safetensors) to an FP16 engine for this GPU (ATTENTION=plugin|native)
	$(PY) -m export onnx --weights $(WEIGHTS) --precision fp16 --out build/$(VARIANT).fp16.onnx
	$(PY) -m export engine --onnx build/$(VARIANT).fp16.onnx --attention $(ATTENTION) $(ENGINE_FLAGS)

gpu-check: plugin ## all that needs a GPU, into benchmarks/results; by GPU_PYTHON (python3), which must have torch
	-cmake --build build/plugin --parallel --target candidates
	$(GPU_PYTHON) -m benchmarks.gpu.check $(GPU_FLAGS)

benchmark: .venv/.dev ## table of the variants: parameters, GMAC, milliseconds on this CPU
	$(PY) -m export benchmark --table

# PIP_EXTRA_INDEX_URL reaches the stage that needs torch.
IMAGE_BUILD = $(ENGINE) build --build-arg PIP_EXTRA_INDEX_URL $(IMAGE_FLAGS)

image-cpu: ## image of the service for CPUs, segmif:cpu (ENGINE=podman for another engine)
	$(IMAGE_BUILD) -f docker/service.cpu.Dockerfile -t segmif:cpu .

image-gpu: ## image of the service for NVIDIA's GPUs, segmif:gpu
	$(IMAGE_BUILD) -f docker/service.gpu.Dockerfile -t segmif:gpu .

# JetPack 7 takes NVIDIA's images for servers; JetPack 6 has images, a driver and a Python of its own.
ifeq ($(JETPACK),6)
image-jetson: IMAGE_FLAGS += --build-arg BUILD_BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel \
  --build-arg BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime --build-arg IMAGE_CUDA=12 --build-arg CUDA_ARCHITECTURES=87
endif
image-jetson: ## image of the service for Jetson, segmif:jetson; JETPACK=6 or 7
	$(IMAGE_BUILD) -f docker/service.jetson.Dockerfile -t segmif:jetson .

image-train: ## image of training and export, segmif:train
	$(IMAGE_BUILD) -f docker/train.Dockerfile -t segmif:train .

image-check: ## start IMAGE (segmif:cpu) read-only, ask it, stop it, start it badly; the dashboard's queries
	ENGINE="$(ENGINE)" IMAGE=$(IMAGE) $(PYTHON) -m pytest -m docker tests/docker/test_image.py -rs -s
	$(PYTHON) -m pytest tests/docker/test_monitoring.py -rs

up: ## the service with Prometheus and Grafana; PROFILE=gpu, live or live-gpu; needs SEGMIF_TOKEN, GRAFANA_PASSWORD
	@test "$$SEGMIF_TOKEN" || { echo "SEGMIF_TOKEN: say which token clients must send" >&2; exit 1; }
	@install -d -m 700 $(SECRETS)  # nobody else enters it, and the users of the containers read its files
	@printf '%s' "$$SEGMIF_TOKEN" | install -m 444 /dev/stdin $(SECRETS)/token
	@test -z "$$CAMERA_PASSWORD" -a -e $(SECRETS)/camera || printf '%s' "$$CAMERA_PASSWORD" | install -m 444 /dev/stdin $(SECRETS)/camera
	SECRETS=$(abspath $(SECRETS)) $(ENGINE) compose -f docker/compose.yaml --profile $(PROFILE) up

LOCK := uv pip compile --quiet --universal --no-annotate --custom-compile-command 'make image-lock'

image-lock: ## docker/requirements anew from pyproject.toml (needs uv); JetPack 6 has Python 3.10
	cd docker/requirements && $(LOCK) --python-version 3.13 --generate-hashes ../../pyproject.toml --extra live --extra mqtt -o cpu.txt
	cd docker/requirements && $(LOCK) --python-version 3.10 --generate-hashes ../../pyproject.toml --extra live --extra mqtt gpu.in -o gpu.txt
	cd docker/requirements && $(LOCK) --python-version 3.10 --generate-hashes build.in -o build.txt
	cd docker/requirements && $(LOCK) --python-version 3.10 --generate-hashes cmake.in -o cmake.txt
	cd docker/requirements && $(LOCK) --python-version 3.11 --generate-hashes ../../pyproject.toml --extra train --extra export -o train.txt
	sed -i -E '/^(cuda|nvidia|torch|triton)/,/[^\\]$$/d' docker/requirements/train.txt  # these are the base image's

image-digests: ## pin base images by digest, as ENGINE pulls them today (needs their registries)
	python3 docker/digests.py $(ENGINE)

sbom: .venv/.dev ## what each image carries, with licences: build/sbom/*.cdx.json (asks the package index)
	$(PY) docker/sbom.py build/sbom

clean: ## remove .venv, builds and caches
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what .venv holds; a newer pyproject.toml installs again.
.venv/.serve: pyproject.toml | $(PY)
	@echo "installing what the service needs into .venv"
	@$(PIP) --editable .
	@touch $@

.venv/.dev: pyproject.toml | $(PY)
	@echo "installing everything into .venv (torch makes this take minutes the first time)"
	@$(PIP) --editable '.[dev]'
	@touch .venv/.serve $@

# A python that answers to the name may still be too old or a broken shim, so each candidate is asked.
$(PY):
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv --clear .venv && exit 0; \
	    rm -rf .venv; \
	    echo "$$python cannot make a virtual environment: install its venv module (Debian: python3-venv)" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "no Python 3.11 or newer among $(PYTHONS): install one, or say PYTHONS=/path/to/python" >&2; \
	exit 1
