"""The TensorRT runtime on a GPU and a TensorRT of numpy: slots, sizes, graphs, refusals."""

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.manifest import Manifest, sha256
from segmif.runtime import open_runtime
from segmif.runtime.errors import ArtefactError, DeviceError, EnqueueError
from segmif.runtime.slot import SIZES
from segmif.runtime.tensorrt_ import EngineNetwork, open_engine
from tests.segmif.runtime.fakes import (
    SCRATCH,
    FakeContext,
    FakeDevice,
    FakeEngine,
    fake_tensorrt,
)

FACTS = {
    "tensorrt": "10.16.1",
    "device": "Fake GPU",
    "capability": "9.0",
    "driver": "13.0",
    "profile": {"batch": [1, 1, 4], "height": [32, 480, 640], "width": [32, 640, 640]},
    "profiles": [
        {"batch": [1, 1, 1], "height": [480, 480, 480], "width": [640, 640, 640]},
        {"batch": [2, 4, 4], "height": [480, 480, 480], "width": [640, 640, 640]},
        {"batch": [1, 1, 4], "height": [32, 480, 640], "width": [32, 640, 640]},
    ],
    "workspace_mib": None,
    "attention": "native",
    "plugin_sha256": None,
}

Bytes = NDArray[np.uint8]


def engine_file(folder: Path, content: bytes = b"fake engine", **facts: Any) -> Path:
    path = folder / "nano.engine"
    path.write_bytes(content)
    Manifest(
        variant="nano",
        taxonomy="mfnet",
        precision="fp16",
        sha256=sha256(path),
        engine=FACTS | facts,
    ).write(path)
    return path


def opened(
    folder: Path, version: str = "10.16.1", **facts: Any
) -> tuple[EngineNetwork, FakeDevice]:
    path = engine_file(folder, **{"tensorrt": version} | facts)
    runtime = open_engine(path, trt=fake_tensorrt(version), device=FakeDevice)
    return runtime, FakeDevice.opened[-1]


def pair(batch: int, height: int, width: int, seed: int = 0) -> tuple[Bytes, Bytes]:
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (batch, height, width, 3), np.uint8),
        random.integers(0, 256, (batch, height, width), np.uint8),
    )


def assert_right(answer: tuple[Bytes, ...], visible: Bytes, infrared: Bytes) -> None:
    np.testing.assert_array_equal(answer[0], visible)
    np.testing.assert_array_equal(answer[1], infrared > 100)


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1", "11.1.0"])
def test_pairs_of_many_sizes_from_many_threads_come_back_right(
    tmp_path: Path, version: str
) -> None:
    runtime, device = opened(tmp_path, version)
    sizes = [(1, 32, 64), (4, 64, 32), (2, 480, 640), (1, 96, 96)]

    def ask(seed: int) -> None:
        given = pair(*sizes[seed % len(sizes)], seed)
        answer = runtime.run(*given)
        kept = [array.copy() for array in answer]
        runtime.run(*pair(*sizes[0], seed + 1))  # a later answer must not change an earlier one
        assert_right(tuple(kept), *given)
        assert_right(answer, *given)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(60)))
    runtime.close()
    assert device.closed
    assert runtime.name == f"tensorrt {version} Fake GPU"


def test_an_engine_for_rtx_runs_on_other_cards_but_not_on_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fake_tensorrt("1.7.1", "tensorrt_rtx")
    path = engine_file(tmp_path, tensorrt="tensorrt_rtx 1.7.1", device="RTX", capability="8.0")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)  # the manifest names it
    runtime = open_engine(path, device=FakeDevice)
    given = pair(2, 96, 64)
    assert_right(runtime.run(*given), *given)
    runtime.close()
    assert runtime.name == "tensorrt_rtx 1.7.1 Fake GPU"
    monkeypatch.setattr(FakeDevice, "capability", (7, 5))
    with pytest.raises(ArtefactError, match=r"8\.0 and later; Fake GPU has 7\.5"):
        open_engine(path, device=FakeDevice)
    module.__version__ = "1.8.0"
    with pytest.raises(ArtefactError, match=r"built with tensorrt_rtx 1\.7\.1; here is .*1\.8\.0"):
        open_engine(path, device=FakeDevice)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(ArtefactError, match=r"\[tensorrt-rtx\]"):
        open_engine(path, device=FakeDevice)


def test_confidence_comes_where_it_is_asked_for_and_the_engine_has_it(tmp_path: Path) -> None:
    runtime, _ = opened(tmp_path)
    visible, infrared = pair(2, 32, 64)
    assert len(runtime.run(visible, infrared)) == 2
    *_, confidence = runtime.run(visible, infrared, confidence=True)
    np.testing.assert_array_equal(confidence, infrared)
    runtime.close()

    path = engine_file(tmp_path, b"fake engine of old")
    runtime = open_engine(path, trt=fake_tensorrt(), device=FakeDevice)
    assert runtime.outputs == ("fused", "labels")
    assert_right(runtime.run(visible, infrared), visible, infrared)
    with pytest.raises(ValueError, match="segmif export onnx"):
        runtime.run(visible, infrared, confidence=True)
    runtime.close()


def test_each_pair_of_a_batch_has_its_tint(tmp_path: Path) -> None:
    runtime, _ = opened(tmp_path)
    grey, tint = np.full((3, 32, 64, 3), 90, np.uint8), np.array([0, 0.5, 1], np.float32)
    fused, _ = runtime.run(grey, grey[..., 0], tint=tint)
    assert [set(each.ravel()) for each in fused] == [{40}, {90}, {140}]
    with pytest.raises(ValueError, match="expected 3 values from 0 to 1, one for each pair"):
        runtime.run(grey, grey[..., 0], tint=tint[:2])
    runtime.close()

    path = engine_file(tmp_path, b"fake engine of old")
    runtime = open_engine(path, trt=fake_tensorrt(), device=FakeDevice)
    assert runtime.default_tint is None
    with pytest.raises(ValueError, match="the hue of this network is fixed: export its weights"):
        runtime.run(grey, grey[..., 0], tint=tint)
    runtime.close()


def test_a_size_is_recorded_once_and_old_ones_make_room(tmp_path: Path) -> None:
    runtime, device = opened(tmp_path)
    for seed in range(5):
        runtime.run(*pair(1, 32, 32, seed))
    assert device.captures == 1 and device.launches == 5
    for width in range(64, 64 + 32 * SIZES, 32):
        runtime.run(*pair(1, 32, width))
    runtime.run(*pair(1, 32, 32))  # had to make room
    assert device.captures == 1 + SIZES + 1
    assert device.recordings == device.contexts == SIZES  # what made room is gone
    runtime.close()


def test_without_graphs_the_work_is_enqueued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime, device = opened(tmp_path)
    monkeypatch.setattr(device, "records_graphs", False)
    given = pair(2, 64, 96)
    assert_right(runtime.run(*given), *given)
    assert "no CUDA graph" in caplog.text
    runtime.close()


def test_what_the_profile_does_not_hold_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    runtime, _ = opened(tmp_path)
    with pytest.raises(ValueError, match=r"batch 5, 32x32: this engine takes batch 1 to 4"):
        runtime.run(*pair(5, 32, 32))
    with pytest.raises(ValueError, match="multiples of 32"):
        runtime.run(*pair(1, 33, 32))
    given = pair(1, 32, 32)
    assert_right(runtime.run(*given), *given)
    runtime.close()
    with pytest.raises(ValueError, match="closed"):
        runtime.run(*given)


def test_a_lost_gpu_is_said_to_all_who_come(tmp_path: Path) -> None:
    runtime, device = opened(tmp_path)
    runtime.run(*pair(1, 32, 32))
    device.lost = True
    for _ in range(3):
        with pytest.raises(DeviceError, match=r"the GPU was lost \(fake device: unplugged\)"):
            runtime.run(*pair(1, 32, 32))
    runtime.close()


def test_one_refused_size_leaves_the_gpu_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, _ = opened(tmp_path)
    enqueue = FakeContext.execute_async_v3

    def refuse_one(context: FakeContext, stream: int) -> bool:
        if context.shapes["infrared"] != (1, 96, 96):
            return enqueue(context, stream)
        context.engine.logger.log(0, "InteractiveAttention: more than 64 channels")
        return False

    monkeypatch.setattr(FakeContext, "execute_async_v3", refuse_one)
    for size in ((1, 64, 64), (1, 96, 96), (1, 64, 64), (1, 96, 96), (1, 32, 32)):
        given = pair(*size)
        if size == (1, 96, 96):
            words = "refused frames of batch 1, 96x96: InteractiveAttention: more than 64 channels"
            with pytest.raises(EnqueueError, match=words):
                runtime.run(*given)
        else:
            assert_right(runtime.run(*given), *given)
    runtime.close()


def test_a_call_that_failed_once_is_no_lost_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, device = opened(tmp_path)
    given = pair(1, 32, 32)

    def fail(event: int, stream: int) -> None:
        raise DeviceError("cuEventRecord: CUDA_ERROR_OUT_OF_MEMORY")

    with monkeypatch.context() as patch:
        patch.setattr(device, "record", fail)
        with pytest.raises(EnqueueError, match=r"did not take this batch .*OUT_OF_MEMORY"):
            runtime.run(*given)
    assert_right(runtime.run(*given), *given)
    runtime.close()


def test_waiting_for_the_next_batch_ends_however_short_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SimpleQueue.get may wait for ever, if its timeout is over before it waits."""
    monkeypatch.setattr("segmif.runtime.tensorrt_.POLL_S", 1e-6)
    runtime, _ = opened(tmp_path)
    given = pair(1, 32, 32)

    def ask() -> None:
        for _ in range(3000):
            runtime.run(*given)
        runtime.close()

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout=120)
    assert not asking.is_alive()


def test_each_size_runs_in_the_profile_that_was_tuned_for_it(tmp_path: Path) -> None:
    runtime, device = opened(tmp_path)
    for size in ((1, 480, 640), (3, 480, 640), (1, 96, 96)):
        runtime.run(*pair(*size))
    assert device.profiles == [0, 1, 2]
    scratch = [memory for memory in device.held.values() if len(memory) == SCRATCH]
    assert len(scratch) == 1  # for all slots and profiles
    runtime.close()


def test_a_pair_is_enqueued_while_another_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU ends its first batch only once the second one waits behind it."""
    runtime, device = opened(tmp_path)
    runtime.run(*pair(1, 32, 32))
    reached, before = device.reached, device.launches

    def only_after_two(event: int) -> bool:
        return device.launches >= before + 2 and reached(event)

    monkeypatch.setattr(device, "reached", only_after_two)
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(runtime.run, *pair(1, 32, 32, seed)) for seed in (1, 2)]
        for seed, answer in enumerate(answers, start=1):
            assert_right(answer.result(timeout=30), *pair(1, 32, 32, seed))
    runtime.close()


def test_who_waits_for_a_slot_is_told_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, device = opened(tmp_path)
    held, reached = Event(), device.reached
    monkeypatch.setattr(device, "reached", lambda event: held.is_set() and reached(event))
    with ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(runtime.run, *pair(1, 32, 32, seed)) for seed in range(4)]
        while device.launches < runtime.slots:
            sleep(0.001)
        closing = threads.submit(runtime.close)
        sleep(0.05)
        held.set()
        closing.result(timeout=30)
    failures = [answer.exception() for answer in answers]
    assert failures.count(None) == runtime.slots
    assert all("closed" in str(each) for each in failures if each)


def test_a_profile_too_large_for_the_gpu_says_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: FakeDevice, size: int) -> int:
        raise DeviceError(f"{size:,} bytes of GPU memory: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY")

    monkeypatch.setattr(FakeDevice, "memory", full)
    words = r"1,234 bytes of .* up to batch 4, 640x640: .* smaller --batch, --height or --width"
    with pytest.raises(DeviceError, match=words):
        opened(tmp_path)
    assert FakeDevice.opened[-1].closed


def test_a_size_without_memory_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, _ = opened(tmp_path)
    given = pair(1, 32, 32)
    with monkeypatch.context() as patch:
        patch.setattr(FakeEngine, "create_execution_context", lambda engine, strategy: None)
        with pytest.raises(MemoryError, match=r"batch 1, 32x32 beside the 1,234 bytes of scratch"):
            runtime.run(*given)
    assert_right(runtime.run(*given), *given)
    runtime.close()


@pytest.mark.parametrize(
    "facts", [{"tensorrt": "10.3.0"}, {"capability": "8.7"}, {"device": "Another GPU"}]
)
def test_an_engine_of_another_machine_is_refused(tmp_path: Path, facts: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError, match=r"was built for TensorRT .* here are .* --rebuild"):
        open_engine(engine_file(tmp_path, **facts), trt=fake_tensorrt(), device=FakeDevice)
    assert FakeDevice.opened[-1].closed


@pytest.mark.parametrize("lost", sorted(FACTS.keys() - {"driver", "workspace_mib"}))
def test_a_manifest_without_a_fact_is_refused(tmp_path: Path, lost: str) -> None:
    path = engine_file(tmp_path)
    manifest = Manifest.read(path)
    del manifest.engine[lost]
    manifest.write(path)
    with pytest.raises(ArtefactError, match=rf"nano\.engine does not say {lost}.* --rebuild"):
        open_engine(path, trt=fake_tensorrt(), device=FakeDevice)


def test_a_manifest_with_half_a_profile_is_refused(tmp_path: Path) -> None:
    half = {"batch": [1, 1, 4], "height": [32, 480], "width": 640}
    path = engine_file(tmp_path, profile=half, profiles=[half])
    words = r"does not say profile\.height, profile\.width, profiles of"
    with pytest.raises(ArtefactError, match=words):
        open_engine(path, trt=fake_tensorrt(), device=FakeDevice)


def test_a_truncated_engine_is_refused(tmp_path: Path) -> None:
    path = engine_file(tmp_path, b"fake eng")
    with pytest.raises(ArtefactError, match="the header is not mine"):
        open_engine(path, trt=fake_tensorrt(), device=FakeDevice)


def test_an_engine_without_its_plugin_is_refused(tmp_path: Path) -> None:
    path = engine_file(tmp_path, attention="plugin", plugin_sha256="0" * 64)
    with pytest.raises(ArtefactError, match="SEGMIF_PLUGIN"):
        open_engine(path, trt=fake_tensorrt(), device=FakeDevice)
    other = tmp_path / "other.so"
    with pytest.raises(ArtefactError, match="there is no plugin"):
        open_engine(path, other, trt=fake_tensorrt(), device=FakeDevice)
    other.write_bytes(b"another")
    with pytest.raises(ArtefactError, match="not the plugin that this engine was built with"):
        open_engine(path, other, trt=fake_tensorrt(), device=FakeDevice)


def test_an_old_tensorrt_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("8.6.1"))
    with pytest.raises(ArtefactError, match=r"TensorRT 8\.6\.1 is installed .* 10\.3 or later"):
        open_runtime(engine_file(tmp_path))


def test_without_tensorrt_an_engine_says_what_is_missing(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(ArtefactError, match="TensorRT is not installed here"):
        open_runtime(engine_file(tmp_path))
