"""A service around a TensorRT engine, as far as a GPU of numpy goes."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.manifest import Manifest
from segmif.runtime.tensorrt_ import open_engine
from service.__main__ import main
from service.errors import UnfitSize
from service.pipeline.infer import infer
from service.pipeline.stage_times import StageTimes
from service.settings import Settings
from tests.segmif.runtime.fakes import FakeDevice, fake_tensorrt
from tests.segmif.runtime.test_tensorrt import engine_file
from tests.service.api.test_wire import RAW, dial, message, receive
from tests.service.conftest import Serve


def ask(client: httpx.Client, visible: bytes, infrared: bytes) -> httpx.Response:
    files = {"visible": visible, "infrared": infrared}
    return client.post("/fuse-segment", files=files, headers={"accept": "image/png"})


def test_pairs_go_through_the_engine_in_batches_that_it_takes(tmp_path: Path, serve: Serve) -> None:
    path = engine_file(tmp_path)  # takes batches of up to 4, a GPU's default is 8
    made = replace(Manifest.read(path), source_sha256="0" * 64)
    made.write(path)
    runtime = open_engine(path, trt=fake_tensorrt(), device=FakeDevice)
    random = np.random.default_rng(0)
    visible = random.integers(0, 256, (90, 120, 3), np.uint8)
    infrared = random.integers(0, 256, (90, 120), np.uint8)
    files = codecs.encode_png(visible), codecs.encode_png(infrared)
    with serve(Settings(weights=path, max_pending=64), runtime) as client:
        with ThreadPoolExecutor(24) as clients:
            answers = list(clients.map(lambda _: ask(client, *files), range(24)))
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            np.testing.assert_array_equal(codecs.decode_visible(answer.content), visible)
        told = client.post(
            "/fuse-segment",
            files=dict(zip(("visible", "infrared"), files, strict=True)),
            headers={"accept": "application/json"},
        ).json()["report"]
    assert (told["weights_sha256"], told["source_sha256"]) == (made.sha256, made.source_sha256)


def test_a_lost_gpu_makes_the_service_unready(tmp_path: Path, serve: Serve) -> None:
    path = engine_file(tmp_path)
    runtime = open_engine(path, trt=fake_tensorrt(), device=FakeDevice)
    files = (
        codecs.encode_png(np.full((64, 64, 3), 90, np.uint8)),
        codecs.encode_png(np.arange(4096, dtype=np.uint8).reshape(64, 64)),
    )
    with serve(Settings(weights=path), runtime) as client:
        assert ask(client, *files).status_code == 200
        FakeDevice.opened[-1].lost = True
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: ask(client, *files), range(8)))
        assert {(answer.status_code, answer.json()["kind"]) for answer in answers} == {
            (500, "engine_failed")
        }
        assert "unplugged" not in answers[0].text  # what happened inside is for the log
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 503:  # it tries the golden pair once more
            assert time.monotonic() < deadline, "a service without a GPU stays ready"
            time.sleep(0.02)
        assert client.get("/readyz").json()["detail"] == (
            "the golden pair did not come out right; the log says why"
        )
        assert "segmif_pending 0.0" in client.get("/metrics").text


def test_a_size_that_the_engine_does_not_take_is_the_clients_to_mend(
    tmp_path: Path, serve: Serve
) -> None:
    path = engine_file(tmp_path)  # takes a width of up to 640
    random = np.random.default_rng(0)
    visible = random.integers(0, 256, (96, 700, 3), np.uint8)
    infrared = random.integers(0, 256, (96, 700), np.uint8)
    body = message(visible.tobytes(), infrared.tobytes(), size=(700, 96))
    tensors = [
        {"name": name, "datatype": "UINT8", "shape": [1, *array.shape], "data": array.tolist()}
        for name, array in (("visible", visible), ("infrared", infrared))
    ]
    runtime = open_engine(path, trt=fake_tensorrt(), device=FakeDevice)
    with serve(Settings(weights=path), runtime) as client:
        form = ask(client, codecs.encode_png(visible), codecs.encode_png(infrared))
        raw = client.post("/fuse-segment", content=body, headers=RAW)
        v2 = client.post("/v2/models/nano/infer", json={"inputs": tensors})
        with dial(client) as socket:
            socket.send(body)
            streamed = receive(socket).report
        problems = [form.json(), raw.json(), v2.json(), streamed]
        assert {answer.status_code for answer in (form, raw, v2)} == {422}
        assert client.get("/readyz").status_code == 200  # no reason to doubt the network
    for told in problems:
        assert (told["status"], told["kind"]) == (422, "unfit_size")
        assert told["detail"] == (
            "a pair of 700x96 does not fit: frames of batch 1, 96x704: this engine takes batch 1 "
            "to 4, height 32 to 640, width 32 to 640; give it such, or build it for others "
            "(--batch, --height, --width)"
        )


def test_folders_say_which_size_the_engine_takes(tmp_path: Path) -> None:
    runtime = open_engine(engine_file(tmp_path), trt=fake_tensorrt(), device=FakeDevice)
    wide = FramePair(np.zeros((96, 700, 3), np.uint8), np.zeros((96, 700), np.uint8))
    with pytest.raises(UnfitSize, match=r"700x96 does not fit: .* takes batch 1 to 4"):
        infer(runtime, wide, StageTimes())
    runtime.close()


def test_an_engine_without_its_tensorrt_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--weights", str(engine_file(tmp_path, attention="plugin"))]) == 2
    assert capsys.readouterr().err
