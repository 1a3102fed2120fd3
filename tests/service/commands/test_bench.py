"""The load tool measures a real server, and says when a number should not be believed."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from segmif.imaging import codecs
from service.__main__ import main
from service.commands import bench
from service.commands.bench import Asked, Window, steady


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    for kind, shape in (("visible", (32, 48, 3)), ("infrared", (32, 48))):
        (tmp_path / kind).mkdir()
        for name in ("1.png", "2.png"):
            codecs.write_png(tmp_path / kind / name, np.full(shape, 90, np.uint8))
    return ["--visible", str(tmp_path / "visible"), "--infrared", str(tmp_path / "infrared")]


def test_loads_are_measured_and_compared(
    client: httpx.Client,
    folders: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "AGREE", 10.0)  # a busy machine must not decide about a test
    out = tmp_path / "numbers.json"
    where = ["bench", "--url", str(client.base_url), *folders, "--window-s", "1"]
    assert main([*where, "--clients", "1", "3", "--json", str(out)]) == 0
    told = json.loads(out.read_text())
    assert set(told["loads"]) == {"1 clients", "3 clients"}
    last = told["loads"]["3 clients"]["last"]
    assert last["pairs_a_second"] > 0 and last["outcomes"]["answered"] > 0
    assert {"decode", "infer", "encode", "send"} <= set(last["stages_ms"])
    assert sum(last["stages_ms"].values()) == pytest.approx(
        last["ms"]["p50"], rel=2
    )  # a mean beside a median: of one size, no more
    assert main([*where, "--clients", "1", "--against", str(out)]) == 0
    assert "x the pairs/s" in capsys.readouterr().out


def test_a_camera_keeps_its_rate(
    client: httpx.Client, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["bench", "--url", str(client.base_url), *folders, "--window-s", "0.5"]
    main([*where, "--rate", "10"])
    assert "10 pairs/s offered: 10.0 pairs/s" in capsys.readouterr().out


def test_numbers_that_do_not_agree_are_not_steady() -> None:
    def window(count: int, ms: float) -> Window:
        return Window.of([Asked("answered", ms)] * count, 1.0)

    assert steady([window(10, 5.0)] * 3)
    assert not steady([window(10, 5.0)] * 2)
    assert not steady([window(10, 5.0), window(10, 5.0), window(14, 5.0)])
    assert not steady([window(10, 5.0), window(10, 7.0), window(10, 5.0)])
    assert not steady([Window.of([Asked("busy", 1.0)], 1.0)] * 3)
    shares = Window.of([Asked("answered", float(ms)) for ms in range(1, 101)], 1.0)
    assert shares.ms == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_nobody_there_and_nothing_to_send_are_said(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--url", "http://127.0.0.1:9", *folders]) == 2
    assert "http://127.0.0.1:9" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert main(["bench", *folders[:3], str(tmp_path / "none")]) == 2
    assert "no frame of the same name" in capsys.readouterr().err
    for flag in ("--clients", "--rate", "--window-s"):
        with pytest.raises(SystemExit) as ended:
            main(["bench", *folders, flag, "0"])
        assert ended.value.code == 2
        assert f"argument {flag}: '0' is no " in capsys.readouterr().err
    (tmp_path / "other.json").write_text("{}")
    assert main(["bench", *folders, "--against", str(tmp_path / "other.json")]) == 2
    assert "other.json holds no loads: --against takes" in capsys.readouterr().err
