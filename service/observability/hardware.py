"""Power, temperature and memory of the machine, for Prometheus, as far as sensors report them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

SYSFS = Path("/sys/class")  # what tegrastats reads too
JETSON_POWER = "ina3221"  # the monitor of a Jetson's supply rails

Reading = tuple[str, float]  # sensor, value


class Hardware(Collector):
    """Asks the sensors each time it is collected; one that does not answer is left out."""

    def __init__(self) -> None:
        self._nvml = open_nvml()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read all sensors."""
        gpus = self._gpus()
        for name, text, readings in (
            ("temperature_celsius", "Temperature", [*zones(), *gpus["temperature"]]),
            ("power_watts", "Electrical power", [*rails(), *gpus["power"]]),
            ("gpu_memory_used_bytes", "GPU memory in use", gpus["used"]),
            ("gpu_memory_bytes", "GPU memory there is", gpus["total"]),
            ("gpu_busy_ratio", "Share of the time in which the GPU works", gpus["busy"]),
        ):
            family = GaugeMetricFamily(f"segmif_{name}", text, labels=["sensor"])
            for sensor, value in readings:
                family.add_metric([sensor], value)
            if family.samples:
                yield family

    def _gpus(self) -> dict[str, list[Reading]]:
        """The readings of NVML of each GPU, by kind."""
        nvml, found = self._nvml, defaultdict[str, list[Reading]](list)
        ask: dict[str, Callable[[Any], float]] = {
            "temperature": lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, 0),  # of the GPU itself
            "power": lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,  # [mW]
            "used": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
            "total": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
            "busy": lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,  # [%]
        }
        if not nvml:
            return found
        with suppress(nvml.NVMLError):  # the driver may be gone
            for number in range(nvml.nvmlDeviceGetCount()):
                gpu = nvml.nvmlDeviceGetHandleByIndex(number)
                for kind, question in ask.items():
                    with suppress(nvml.NVMLError):  # boards differ in what they measure
                        found[kind].append((f"gpu{number}", float(question(gpu))))
        return found


def open_nvml() -> Any:
    """NVIDIA's management library where there is one and a GPU; else None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def zones() -> Iterator[Reading]:
    """Degrees Celsius of the system's thermal zones."""
    for zone in sorted(SYSFS.glob("thermal/thermal_zone*")):
        with suppress(OSError, ValueError):  # a zone that is powered down cannot be read
            yield (zone / "type").read_text().strip(), int((zone / "temp").read_text()) / 1000


def rails() -> Iterator[Reading]:
    """Watts of a Jetson's supply rails: volts times amperes, each in thousandths."""
    for monitor in sorted(SYSFS.glob("hwmon/hwmon*")):
        with suppress(OSError):
            if (monitor / "name").read_text().strip() != JETSON_POWER:
                continue
        for label in sorted(monitor.glob("in*_label")):
            channel = label.name[len("in") : -len("_label")]
            with suppress(OSError, ValueError):  # the sum of the rails has no current of its own
                millivolts = int((monitor / f"in{channel}_input").read_text())
                milliamperes = int((monitor / f"curr{channel}_input").read_text())
                yield label.read_text().strip(), millivolts * milliamperes / 1e6
