"""The way to a GPU, on a driver without one: its calls, their order, what is given back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parent / "driver.c"
COMPILER = shutil.which("gcc") or shutil.which("cc")

# in a process of its own, whose only driver is ours
CHECK = """
import ctypes
import gc
from segmif.runtime import device
from segmif.runtime.errors import DeviceError

gpu = device.BindingsDevice(0)
assert (gpu.name, tuple(gpu.capability), gpu.driver) == ("Paper GPU", (8, 7), "12.4")
stream, there, back = gpu.stream(), gpu.buffer(64), gpu.buffer(64)
gpu.memory(16)

uncollected = []

def echo():  # on an integrated GPU nothing is copied: both sides are the same bytes
    gpu.upload(there, 64, stream)
    uncollected.append(not gc.isenabled())
    gpu.download(device.Buffer(back.host, there.device), 64, stream)

def seen():
    gpu.wait(stream)
    return set((there if gpu.integrated else back).host.tolist())

there.host[:] = 5
echo()
assert seen() == {5}
recording = gpu.capture(stream, echo)
assert uncollected == [False, True] and gc.isenabled(), "garbage may free GPU memory meanwhile"
there.host[:32] = 9
assert gpu.integrated or seen() == {5}, "recorded work must not be done"
recording.launch()
assert seen() == {5, 9}
event = gpu.event()
gpu.record(event, stream)
assert not gpu.reached(event)
assert gpu.reached(event)
gpu.check()
recording.close()

def refuse():
    raise DeviceError("refused")

for wrong, words in (
    (lambda: device.BindingsDevice(1), "GPU 1 cannot be opened (cuDeviceGet: CUDA_ERROR_INVALID_"),
    (lambda: device.BindingsDevice(1), "`nvidia-smi` must list it"),
    (lambda: gpu.capture(stream, refuse), "refused"),
    (lambda: gpu.reached(stream), "cuEventQuery: CUDA_ERROR_INVALID_HANDLE"),
    (recording.launch, "cuGraphLaunch: INVALID_HANDLE"),
    (lambda: gpu.memory(1 << 31), "2,147,483,648 bytes of GPU memory: cuMemAlloc: CUDA_ERROR_OUT"),
):
    try:
        wrong()
    except DeviceError as error:
        assert words in str(error), error
    else:
        raise AssertionError("no error")
gpu.close()
driver = ctypes.CDLL("libcuda.so.1")
assert ctypes.c_int.in_dll(driver, "left").value == 0, "something was not given back"
assert driver.stack_depth() == 0, "the thread's stack of contexts is not as it was"
"""

PINNED = """
import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor
from segmif.runtime.driver import PinnedMemory

said = []
logging.getLogger("segmif.runtime.driver").addFilter(lambda record: said.append(record))
memory, driver = PinnedMemory(), ctypes.CDLL("libcuda.so.1")
left = ctypes.c_int.in_dll(driver, "left")
assert left.value == 1, "the context"

def use(size):  # in threads that have no context of their own
    held = memory.take(size)
    held[:] = size % 256
    assert held.shape == (size,) and (held == size % 256).all()
    assert driver.stack_depth() == 0
    return held

with ThreadPoolExecutor(3) as pool:
    given = list(pool.map(use, [7, 4096, 1]))
assert left.value == 4
memory.give_back(given.pop())
assert left.value == 3 and not said
use((1 << 28) + 1)  # more than the driver pins
assert left.value == 3 and "cuMemHostAlloc: " in said.pop().getMessage()
memory.close()
memory.give_back(given.pop())
assert left.value == 0, "something was not given back"
assert driver.stack_depth() == 0
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("no C compiler: there is no driver to try these on")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([COMPILER, *flags, DRIVER, "-o", library], check=True)
    return library.parent


@pytest.mark.parametrize("integrated", ["0", "1"])
def test_cuda_bindings_do_what_they_say_and_give_all_back(driver: Path, integrated: str) -> None:
    pytest.importorskip("cuda.bindings.driver")
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env=os.environ | {"LD_LIBRARY_PATH": str(driver), "FAKE_INTEGRATED": integrated},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_pinned_memory_is_all_given_back(driver: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PINNED],
        env=os.environ | {"LD_LIBRARY_PATH": str(driver)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
