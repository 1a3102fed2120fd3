"""Infrared moved by hand on the live tab, and saved to the rig file."""

import re
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from segmif.geometry.rig import Homography, read_rig, write_rig
from service.settings import Settings
from tests.service.live.test_run import running, wait_until
from tests.service.web.conftest import Open

CONFIG = """save_rig = {}
[[rigs]]
name = "gate"
visible = "synthetic:96x64@20"
infrared = "synthetic:96x64@20"
rig = "rig.yaml"
"""
ASK = "/live/gate/nudge?right=-1&down=-9"


def map_of(path: Path) -> np.ndarray:
    rig = read_rig(path)
    assert isinstance(rig, Homography)
    return rig.H_infrared_visible


def test_infrared_is_moved_and_saved_to_the_rig(
    stand_in_weights: Path, tmp_path: Path, open_page: Open
) -> None:
    rig, config = tmp_path / "rig.yaml", tmp_path / "rigs.toml"
    write_rig(rig, Homography((96, 64), (96, 64), np.eye(3)))
    old = rig.read_bytes()
    config.write_text(CONFIG.format("true"))
    flags = "--config", str(config)
    with running(stand_in_weights, tmp_path / "log", *flags, token="wren") as (process, client):
        page = open_page(f"{client.base_url}#live/gate")
        page.fill("dialog input", "wren")
        page.keyboard.press("Enter")
        expect(page.locator("#facts")).to_contain_text("nano, fp32")
        expect(page.locator("#nudge-save")).to_be_disabled()
        page.click("#nudge-right")
        page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("ArrowUp")
        expect(page.locator("#nudge-by")).to_have_text("1 px right, 9 px down")
        expect(page.locator("#right-view")).to_have_value("blend")
        page.click("#nudge-save")
        told = page.locator("#nudge-told")
        expect(told).to_have_text(re.compile(r"Saved; the old file is rig\.[0-9a-f]{12}\.yaml"))
        expect(page.locator("#nudge-by")).to_have_text("0 px right, 0 px down")
        np.testing.assert_array_equal(map_of(rig), [[1, 0, -1], [0, 1, -9], [0, 0, 1]])
        assert (tmp_path / (told.text_content() or "").split()[-1]).read_bytes() == old
        refusals = [
            httpx.post(f"{client.base_url}{ASK}"),
            client.post(ASK, headers={"Origin": "https://evil.example"}),
            client.post("/live/gate/nudge?right=9000"),
        ]
        assert [each.status_code for each in refusals] == [401, 403, 422]
        assert client.post(ASK).is_success  # the file that was saved is the one in use
        np.testing.assert_array_equal(map_of(rig), np.eye(3))
        rig.write_bytes(old)  # by another hand
        assert client.post(ASK).json()["kind"] == "rig_changed"
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.post(ASK).is_success, process)
        config.write_text(CONFIG.format("false"))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: not client.get("/live/gate").json()["savable"], process)
        assert client.post(ASK).json()["kind"] == "rig_kept"


def test_beyond_this_machine_a_rig_is_saved_with_a_token_only() -> None:
    with pytest.raises(ValueError, match=r"save_rig.*set SEGMIF_TOKEN"):
        Settings(save_rig=True, host="10.0.0.1", open_to_all=True)
    assert not Settings().save_rig
