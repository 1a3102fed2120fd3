"""What can be said of Dockerfiles and the compose file without building anything."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import compose_spec
import pytest
import tomli
import yaml
from packaging.requirements import Requirement

from docker import healthy
from service.commands.cli import parser
from service.commands.run import live_settings
from service.live.sinks.settings import VideoSettings
from service.settings import Settings
from service.settings.environment import check_environment

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
LOCKS = DOCKER / "requirements"
SERVICES = ("cpu", "gpu", "live", "live-gpu")  # of ours
SINK_S = 10  # that a sink may take to finish its file


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_dockerfiles_are_as_they_should_be(dockerfile: Path) -> None:
    check("hadolint", str(dockerfile), "--config", ".hadolint.yaml")


@pytest.mark.parametrize("name", ["gpu", "jetson"])
def test_gpu_images_end_with_a_look_at_tensorrt(name: str) -> None:
    lines = (DOCKER / f"service.{name}.Dockerfile").read_text().splitlines()
    runs = [line for line in lines if line.startswith("RUN ")]
    assert runs[-1] == (
        "RUN /opt/segmif/bin/python /steps/loads.py /opt/segmif/plugin/libsegmif_plugin.so"
    )
    assert lines[-1].endswith('"--", "/opt/segmif/nvidia.sh"]')


@pytest.mark.skipif(not shutil.which("gcc"), reason="no C compiler: there is nothing to load")
def test_a_base_without_parser_or_with_another_plugin_builds_no_image(tmp_path: Path) -> None:
    def library(name: str, function: str) -> Path:
        built = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(tmp_path / name)]
        subprocess.run(built, input=function, text=True, check=True)
        return tmp_path / name

    def load(plugin: Path) -> tuple[int, str]:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "LD_LIBRARY_PATH": str(tmp_path)}
        command = [sys.executable, str(DOCKER / "steps" / "loads.py"), str(plugin)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    plugin = library("plugin.so", "void getCreators(void) {} void setLoggerFinder(void) {}")
    other = library("other.so", "void getCreators(void) {}")
    if importlib.util.find_spec("tensorrt") is None:
        assert load(plugin) == (
            1,
            "this base image cannot build and run engines: No module named 'tensorrt'\n",
        )
    (tmp_path / "tensorrt.py").write_text('__version__ = "10.3.0"')
    code, said = load(plugin)
    assert code == 1 and "libnvonnxparser.so.10: cannot open" in said
    library("libnvonnxparser.so.10", "int parser;")
    code, said = load(other)
    assert code == 1 and "undefined symbol: setLoggerFinder" in said
    assert load(plugin)[0] == 0


def test_forward_compatibility_is_read_before_the_service(tmp_path: Path) -> None:
    program, switch = tmp_path / "start.py", tmp_path / "shinit"
    program.write_text("import os, sys; print(os.environ.get('COMPAT'), *sys.argv[1:])")
    words = ["sh", str(DOCKER / "nvidia.sh"), "run", "two words"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = os.environ | {"START": str(program), "SHINIT": str(switch), "PATH": path}

    def said() -> str:
        return subprocess.run(words, env=given, capture_output=True, text=True, check=True).stdout

    assert said() == "None run two words\n"  # a Jetson's image has no such file
    switch.write_text("export COMPAT=on\n")
    assert said() == "on run two words\n"


def test_workflows_keep_to_their_schema() -> None:
    workflows = map(str, (ROOT / ".github" / "workflows").glob("*.yml"))
    check("check-jsonschema", "--builtin-schema=vendor.github-workflows", *workflows)


def check(tool: str, *words: str) -> None:
    program = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert program, f"{tool} is one of the tools of `make install`"
    done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("lock", "python", "extras", "source"),
    [
        ("cpu", "3.13", ["live", "mqtt"], None),
        ("gpu", "3.10", ["live", "mqtt"], "gpu.in"),  # JetPack 6
        ("gpu", "3.12", ["live", "mqtt"], "gpu.in"),
        ("train", "3.12", ["train", "export"], None),
        ("build", "3.12", None, "build.in"),
        ("cmake", "3.10", None, "cmake.in"),
    ],
)
def test_locks_are_in_step(
    lock: str, python: str, extras: list[str] | None, source: str | None
) -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [] if extras is None else list(project["dependencies"])
    wanted += [line for extra in extras or () for line in project["optional-dependencies"][extra]]
    wanted += (LOCKS / source).read_text().splitlines() if source else []
    held = dict(pins(LOCKS / f"{lock}.txt", python))
    for requirement in requirements(wanted, python):
        if requirement.name != "torch":  # the base image's
            pin = held.get(requirement.name)
            assert pin and pin in requirement.specifier, f"{requirement}: make image-lock is due"


def pins(lock: Path, python: str) -> Iterator[tuple[str, str]]:
    lines = [line.rstrip(" \\") for line in lock.read_text().splitlines() if line[:1].strip()]
    for requirement in requirements(lines, python):
        yield requirement.name, str(requirement.specifier).removeprefix("==")


def requirements(lines: list[str], python: str) -> Iterator[Requirement]:
    """What the lines ask for on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    for line in lines:
        if text := line.split("#")[0].strip():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(here):
                yield requirement


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_every_step_is_a_script_that_is_there(dockerfile: Path) -> None:
    steps = re.findall(r"^RUN .*?([\w./]+\.(?:sh|py))\b", dockerfile.read_text(), re.MULTILINE)
    assert len(steps) == dockerfile.read_text().count("\nRUN ")
    for step in steps:
        assert (DOCKER / "steps" / Path(step).name).stat().st_mode & 0o111, step


def test_settings_of_images_are_the_services() -> None:
    files = [*DOCKERFILES, DOCKER / "compose.yaml"]
    named = {name for file in files for name in re.findall(r"\bSEGMIF_\w+", file.read_text())}
    assert check_environment(dict.fromkeys(named, ""), Settings.model_fields) == []
    assert "SEGMIF_HOST" in named


def test_compose_keeps_to_its_specification() -> None:
    text = re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", (DOCKER / "compose.yaml").read_text())
    compose = compose_spec.PyOptions(apply_merge=True).from_yaml(text)
    compose.validate()
    assert set(compose.service_names()) == {*SERVICES, "prometheus", "grafana"}
    for file in re.findall(r"(?:- |\")\./([\w./]+):", text):
        assert (DOCKER / file).is_file(), file
    assert {
        int(compose_file()["services"][name]["stop_grace_period"][:-1]) > Settings().drain_s
        for name in SERVICES
    } == {True}


def compose_file() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return loaded


@pytest.mark.parametrize("name", ["live", "live-gpu"])
def test_rigs_of_compose_run_and_their_recordings_end_well(name: str) -> None:
    service = compose_file()["services"][name]
    assert service["command"] == ["run", "--config", "/etc/segmif/rigs.toml"]
    options = parser().parse_args(["run", "--config", str(DOCKER / "rigs.toml")])
    (rig,) = live_settings(options).rigs
    (sink,) = rig.sinks
    assert isinstance(sink, VideoSettings)
    (volume,) = (line for line in service["volumes"] if line.startswith("recordings:"))
    assert sink.path.is_relative_to(volume.partition(":")[2])
    owned = (DOCKER / "steps" / "python.sh").read_text().rpartition("-o segmif")[2]
    assert str(sink.path.parent) in owned  # a new volume takes its owner from the image
    assert int(service["stop_grace_period"][:-1]) >= Settings().drain_s + SINK_S


def test_a_secret_of_compose_is_a_file() -> None:
    """Compose refuses a secret from a variable for a read-only container."""
    text = compose_file()
    assert {"camera", "token"} == text["secrets"].keys()
    assert all(secret.keys() == {"file"} for secret in text["secrets"].values())


def test_make_writes_the_secrets_and_keeps_them_to_itself(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    up = ["make", "up", f"SECRETS={folder}", "ENGINE=true"]
    for given in ({"CAMERA_PASSWORD": "lens"}, {}):  # the second one keeps what is there
        subprocess.run(up, cwd=ROOT, env=os.environ | {"SEGMIF_TOKEN": "tok"} | given, check=True)
        held = {file.name: file.read_text() for file in folder.iterdir()}
        assert held == {"token": "tok", "camera": "lens"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}
    refused = subprocess.run(up, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert refused.returncode and "SEGMIF_TOKEN" in refused.stderr


@pytest.mark.parametrize("name", [*SERVICES, "prometheus", "grafana"])
def test_every_service_of_compose_is_bounded_and_without_rights(name: str) -> None:
    service = compose_file()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert 0 < service["pids_limit"] <= 512
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert int(service["logging"]["options"]["max-file"]) <= 3  # a log does not fill the disk
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_has_no_password_of_its_own() -> None:
    services = compose_file()["services"]
    secrets = [services[name]["environment"]["SEGMIF_TOKEN"] for name in SERVICES]
    secrets += [services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]]
    for secret in secrets:
        assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", secret), secret  # refused where it is missing


def test_actions_are_pinned_by_commit() -> None:
    files = (ROOT / ".github" / "workflows").glob("*.yml")
    uses = [line for file in files for line in re.findall(r"uses: (.+)", file.read_text())]
    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", use), use


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_pin_of_a_lock_has_its_hashes(lock: Path) -> None:
    entries = re.findall(r"^[a-z0-9].*?[^\\]\n", lock.read_text(), re.MULTILINE | re.DOTALL)
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    for step in (DOCKER / "steps").glob("*.sh"):
        if f"requirements/{lock.name}" in (text := step.read_text()):
            assert "--require-hashes" in text or "install.sh" in text, step


def test_only_torch_is_installed_without_a_hash() -> None:
    asked = []
    for step in sorted((DOCKER / "steps").glob("*.sh")):
        text = step.read_text().replace("\\\n", " ")
        for words in re.findall(r"\bpip\b.*? install (.*)", text):
            if "--require-hashes" not in words:
                asked += [word for word in words.split() if word[0] not in '-"']
    assert asked == ["torch==2.13.0"]
    assert '"torch==2.13.0"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("port", ["tcp://10.0.0.7:8000", ""])
def test_the_health_check_is_not_misled_by_kubernetes(
    monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    asked = []

    def refuse(url: str, timeout: float) -> None:
        asked.append(url)
        raise OSError("nobody listens")

    monkeypatch.setenv("SEGMIF_PORT", port)
    monkeypatch.setattr(healthy.OPENER, "open", refuse)
    assert healthy.main() == 1
    assert asked == ["http://127.0.0.1:8000/readyz"]


class Ready(BaseHTTPRequestHandler):
    """Answers as a service that is ready."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_health_check_asks_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.delenv("SEGMIF_TLS_CERTIFICATE", raising=False)
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        monkeypatch.setenv("SEGMIF_PORT", str(server.server_port))
        server.timeout = 20  # [s] in case nobody asks
        Thread(target=server.handle_request).start()
        assert healthy.main() == 0
