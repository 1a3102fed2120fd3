"""The SEGMIF_ variables around the service: settings, misspelt ones, Kubernetes' and others'."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError

from docker.start import main as start
from service.__main__ import main
from service.settings import Settings

# As a kubelet sets them for Services called segmif, segmif-gpu and segmif-max (enableServiceLinks).
LINKS = {
    "SEGMIF_SERVICE_HOST": "10.0.0.7",
    "SEGMIF_SERVICE_PORT": "8000",
    "SEGMIF_SERVICE_PORT_HTTP": "8000",
    "SEGMIF_PORT": "tcp://10.0.0.7:8000",
    "SEGMIF_PORT_8000_TCP": "tcp://10.0.0.7:8000",
    "SEGMIF_PORT_8000_TCP_PROTO": "tcp",
    "SEGMIF_PORT_8000_TCP_PORT": "8000",
    "SEGMIF_PORT_8000_TCP_ADDR": "10.0.0.7",
    "SEGMIF_GPU_SERVICE_HOST": "10.0.0.8",
    "SEGMIF_GPU_PORT": "tcp://10.0.0.8:80",
    "SEGMIF_GPU_PORT_80_UDP_ADDR": "10.0.0.8",
    "SEGMIF_MAX_PORT": "udp://10.0.0.9:53",
}


def test_service_links_of_kubernetes_are_no_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", "--print-config"]) == 0
    assert tomli.loads(capsys.readouterr().out)["port"] == 8000
    assert not caplog.records
    file = tmp_path / "config.toml"
    file.write_text("port = 9")
    assert main(["serve", "--print-config", "--config", str(file)]) == 0
    assert tomli.loads(capsys.readouterr().out)["port"] == 9
    monkeypatch.setenv("SEGMIF_PORT", "81")
    assert main(["serve", "--print-config", "--config", str(file)]) == 0
    assert tomli.loads(capsys.readouterr().out)["port"] == 81


@pytest.mark.parametrize("name", ["SEGMIF_HOME", "SEGMIF_RELEASE", "segmif_username"])
def test_a_variable_of_another_program_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setenv(name, "/srv/s3cret")
    assert main(["serve", "--print-config"]) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert name in caplog.text and "s3cret" not in caplog.text


@pytest.mark.parametrize("program", [lambda: main(["serve"]), lambda: start([])])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SEGMIF_MAX_BATHC", "SEGMIF_MAX_BATCH"),
        ("SEGMIF_TOKN", "SEGMIF_TOKEN"),
        ("segmif_maxpixels", "SEGMIF_MAX_PIXELS"),
        ("SEGMIF_TLS_CERT", "SEGMIF_TLS_CERTIFICATE"),
        ("SEGMIF_PROT", "SEGMIF_PORT"),
    ],
)
def test_a_misspelt_setting_is_refused_by_every_program(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: Callable[[], int],
    name: str,
    meant: str,
) -> None:
    monkeypatch.setenv(name, "1")
    assert program() == 2
    assert f"{name} is none of this program's; is {meant} meant?" in capsys.readouterr().err


NUMBERS = {
    name: [item for item in field.metadata if isinstance(item, Ge | Gt | Le | Lt)]
    for name, field in Settings.model_fields.items()
    if field.annotation in (int, float, int | None, float | None)
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_among_the_settings_has_both_ends(name: str) -> None:
    assert len(NUMBERS) > 20
    assert any(isinstance(end, Ge | Gt) for end in NUMBERS[name])
    assert any(isinstance(end, Le | Lt) for end in NUMBERS[name])
    endless = Settings.model_fields[name].default == math.inf  # it means that there is no bound
    for value in ("nan", "-1", "-inf", "9" * 400, "1e400", "", "one", "0x10"):
        try:
            Settings.model_validate({name: value, "gain": "percentile"})
        except ValidationError:
            continue
        low = min(getattr(end, "ge", getattr(end, "gt", math.inf)) for end in NUMBERS[name])
        assert (endless and float(value) == math.inf) or float(value) == -1 >= low, value
