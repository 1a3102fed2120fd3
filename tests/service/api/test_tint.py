"""The tint of the fused frame: by request, by setting, in every form; and networks without one."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from segmif.client import Client, ServiceError
from segmif.frames import DEFAULT_TINT
from segmif.runtime import open_runtime
from service.scheduler.model_loading import load_model
from service.settings import Settings
from tests.conftest import BRIGHTER
from tests.service.api.test_every_form import COUNTS, VISIBLE, Send, every_form
from tests.service.conftest import Serve

GREY = np.full((32, 64, 3), 100, np.uint8)
GREY[0] = 90
HEAT = np.tile(np.arange(64, dtype=np.uint8), (32, 1))


@pytest.fixture(scope="module")
def client(serve: Serve, stand_in_weights: Path) -> Any:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as opened:
        yield opened


def lifted(tint: float) -> float:
    """Levels by which the stand-in's fused frame is brighter than visible."""
    return BRIGHTER * (tint - DEFAULT_TINT)


@every_form
def test_a_request_chooses_it_and_the_report_says_it(client: httpx.Client, send: Send) -> None:
    for more, used in (({}, DEFAULT_TINT), ({"tint": 0}, 0), ({"tint": 0.25}, 0.25)):
        [(status, report)] = send(client, [(VISIBLE, COUNTS)], more)
        assert (status, report["tint"]) == (200, used)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_the_client_gets_the_picture_that_it_asks_for(
    client: httpx.Client, shared_memory: bool
) -> None:
    with Client(str(client.base_url), shared_memory=shared_memory) as ours:
        for tint in (0, 0.5, 1):
            answer = ours.fuse(GREY, HEAT, tint=tint)
            np.testing.assert_array_equal(answer.fused, GREY + lifted(tint))
            assert answer.report["tint"] == tint
        for wrong in (-0.1, 1.5, "nan", "strong"):
            with pytest.raises(ServiceError, match="parameter 'tint'") as refused:
                ours.fuse(GREY, HEAT, tint=wrong)
            assert refused.value.status == 422


@pytest.mark.parametrize("binary", [True, False])
def test_each_pair_of_a_tensor_has_its_own(client: httpx.Client, binary: bool) -> None:
    tints = np.array([0, 0.5, 1], np.float32)
    pairs = {"visible": np.stack([GREY] * 3), "infrared": np.stack([HEAT] * 3)}
    with triton.InferenceServerClient(f"127.0.0.1:{client.base_url.port}") as tensors:

        def infer(given: np.ndarray | None, kind: str = "FP32", **parameters: Any) -> Any:
            inputs = [triton.InferInput(n, list(a.shape), "UINT8") for n, a in pairs.items()]
            if given is not None:
                inputs.append(triton.InferInput("tint", list(given.shape), kind))
            for made, array in zip(inputs, (*pairs.values(), given), strict=False):
                made.set_data_from_numpy(array, binary_data=binary)
            return tensors.infer("nano", inputs, parameters=parameters).as_numpy("fused")

        expected = [GREY + lifted(tint) for tint in tints]
        for shaped in (tints, tints[:, None]):
            np.testing.assert_array_equal(infer(shaped), expected)
        np.testing.assert_array_equal(infer(None), [GREY] * 3)
        np.testing.assert_array_equal(infer(None, tint=1), [GREY + lifted(1)] * 3)
        for wrong, words in (
            (tints[:2], r"tint is FP32 \[2\]; expected FP32 \[3\], one for each pair"),
            (tints + 0.5, "tint"),
            (tints * np.float32(np.nan), "tint"),
        ):
            with pytest.raises(triton.InferenceServerException, match=words):
                infer(wrong)
        with pytest.raises(triton.InferenceServerException, match=r"tint is UINT8 \[3\]"):
            infer(tints.astype(np.uint8), "UINT8")
        with pytest.raises(triton.InferenceServerException, match="state one of them"):
            infer(tints, tint=1)


def test_the_operator_chooses_what_holds_without_a_request(
    serve: Serve, stand_in_weights: Path
) -> None:
    settings = Settings(weights=stand_in_weights, tint=0)
    with (
        serve(settings, open_runtime(stand_in_weights, threads=1)) as served,
        Client(str(served.base_url)) as ours,
    ):
        np.testing.assert_array_equal(ours.fuse(GREY, HEAT).fused, GREY + lifted(0))
        assert ours.fuse(GREY, HEAT, tint=1).report["tint"] == 1


def test_a_network_of_old_keeps_its_hue(serve: Serve, old_stand_in_weights: Path) -> None:
    settings = Settings(weights=old_stand_in_weights)
    with (
        serve(settings, open_runtime(old_stand_in_weights, threads=1)) as served,
        Client(str(served.base_url)) as ours,
    ):
        answer = ours.fuse(GREY, HEAT)
        np.testing.assert_array_equal(answer.fused, GREY)
        assert answer.report["tint"] is None
        with pytest.raises(ServiceError, match="tint is 0, but the hue of this network is fixed"):
            ours.fuse(GREY, HEAT, tint=0)
    with pytest.raises(ValueError, match=r"stand_in.onnx takes none: .*export its weights again"):
        load_model(Settings(weights=old_stand_in_weights, tint=0))
