"""NVML, by nvidia-ml-py. Every call may fail alone: what it was to tell is unknown, with NVML's
word for it, and the rest stands.

Fields of nvmlDeviceGetFieldValues carry a return code each, which is looked at. Drivers number the
fields from 250 on differently; what holds the clocks down is therefore taken from the old counters
(74, 75, 77) first, and the newer ones only add to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from harness.devices.provider import (
    Clock,
    Device,
    Energy,
    GpuProcess,
    MachineClock,
    NoDevices,
    Processes,
    Reading,
    Source,
)

__all__ = ["Nvml"]

MEMORY_V2: Final = 0x02000028
"""nvmlMemory_v2: version 1 counts what the driver reserves as used."""
SM_CLOCK, MEMORY_CLOCK, CORE_SENSOR = 1, 2, 0

POWER_FIELDS: Final = {"power_average_mw": 185, "power_instant_mw": 186}
THROTTLE_FIELDS: Final = {
    "power": ("NVML_FI_DEV_PERF_POLICY_POWER", 74),
    "thermal": ("NVML_FI_DEV_PERF_POLICY_THERMAL", 75),
    "board_limit": ("NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT", 77),
    "sw_thermal": ("NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN", 269),
    "hw_thermal": ("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN", 270),
    "power_brake": ("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN", 271),
}
"""Counter → the library's name for its field, and its number where the library has no name."""
VALUE_OF: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""By valueType."""


class Nvml:
    """The GPUs of this machine. NoDevices where there are none, or no driver, or no library."""

    source: Source = "nvml"

    def __init__(self, *, library: Any = None, clock: Clock | None = None) -> None:
        """`library`: what stands in for the module `pynvml`."""
        library = library or _library()
        self.clock = clock or MachineClock()
        self._lib = library
        self._handles: dict[str, Any] = {}
        self._devices: tuple[Device, ...] = ()
        self._fields = _fields(library)
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise NoDevices(f"NVML: {error}") from error
        self._open = True
        try:
            self._devices = self._found()
        except library.NVMLError as error:
            self.close()
            raise NoDevices(f"NVML: {error}") from error
        if not self._devices:
            self.close()
            raise NoDevices("NVML: there is no GPU")
        self.origin = f"NVML, driver {self._devices[0].driver or 'unknown'}"

    def devices(self) -> tuple[Device, ...]:
        return self._devices

    def read(self, uuid: str) -> Reading:
        lib, handle = self._lib, self._handles[uuid]
        before_ns = self.clock.monotonic_ns()
        unknown: dict[str, str] = {}
        asked = _Asked(lib, unknown)
        found: dict[str, Any] = {
            "energy_mj": asked("energy_mj", lib.nvmlDeviceGetTotalEnergyConsumption, handle),
            "power_mw": asked("power_mw", lib.nvmlDeviceGetPowerUsage, handle),
            "sm_clock_mhz": asked("sm_clock_mhz", lib.nvmlDeviceGetClockInfo, handle, SM_CLOCK),
            "memory_clock_mhz": asked(
                "memory_clock_mhz", lib.nvmlDeviceGetClockInfo, handle, MEMORY_CLOCK
            ),
            "temperature_c": asked("temperature_c", self._temperature, handle),
            "clock_events": asked("clock_events", self._events, handle),
        }
        used = asked("utilisation_percent", lib.nvmlDeviceGetUtilizationRates, handle)
        found["utilisation_percent"] = None if used is None else float(used.gpu)
        memory = asked("memory_used_bytes", self._memory, handle)
        if memory is None:
            unknown["memory_free_bytes"] = unknown["memory_used_bytes"]
        else:
            found |= {"memory_used_bytes": int(memory.used), "memory_free_bytes": int(memory.free)}
        found |= self._field_values(handle, unknown)
        took_ns = self.clock.monotonic_ns() - before_ns
        return Reading(uuid=uuid, at_ns=before_ns, took_ns=took_ns, unknown=unknown, **found)

    def energy(self, uuid: str) -> Energy:
        unknown: dict[str, str] = {}
        handle, ask = self._handles[uuid], self._lib.nvmlDeviceGetTotalEnergyConsumption
        before_ns = self.clock.monotonic_ns()
        counted = _Asked(self._lib, unknown)("energy_mj", ask, handle)
        return Energy(
            before_ns=before_ns,
            after_ns=self.clock.monotonic_ns(),
            energy_mj=counted,
            unknown=unknown.get("energy_mj", ""),
        )

    def processes(self, uuid: str) -> Processes:
        """Those that compute, and those that draw: both take memory and power."""
        computing, why = self._listed("nvmlDeviceGetComputeRunningProcesses", uuid)
        if why:
            return Processes(unknown=why)
        drawing, _ = self._listed("nvmlDeviceGetGraphicsRunningProcesses", uuid)
        both = {one.pid: one for one in drawing} | {one.pid: one for one in computing}
        return Processes(listed=tuple(both.values()))

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            self._lib.nvmlShutdown()
        except self._lib.NVMLError:
            return  # the driver is gone, and with it what was to be shut down

    # ------------------------------------------------------------------------------------------

    def _found(self) -> tuple[Device, ...]:
        lib, devices = self._lib, []
        for index in range(lib.nvmlDeviceGetCount()):
            unknown: dict[str, str] = {}
            asked = _Asked(lib, unknown)
            handle = asked("handle", lib.nvmlDeviceGetHandleByIndex, index)
            uuid = None if handle is None else asked("uuid", lib.nvmlDeviceGetUUID, handle)
            if uuid is None:
                continue  # it is lost: nothing can be said of it, and the others are there
            memory = asked("memory_bytes", self._memory, handle)
            pci = asked("pci", lib.nvmlDeviceGetPciInfo, handle)
            self._handles[uuid := _text(uuid)] = handle
            devices.append(
                Device(
                    uuid=uuid,
                    index=index,
                    name=_text(asked("name", lib.nvmlDeviceGetName, handle)),
                    pci=None if pci is None else _text(pci.busId),
                    memory_bytes=None if memory is None else int(memory.total),
                    driver=_text(asked("driver", lib.nvmlSystemGetDriverVersion)),
                    power_limit_mw=asked(
                        "power_limit_mw", lib.nvmlDeviceGetEnforcedPowerLimit, handle
                    ),
                    unknown=unknown,
                )
            )
        return tuple(sorted(devices, key=lambda one: (one.pci is None, one.pci or "", one.index)))

    def _listed(self, call: str, uuid: str) -> tuple[list[GpuProcess], str]:
        """By the newest form that the driver has. The call without a version in its name refuses
        drivers that lack its newest one."""
        why = ""
        for version in ("_v3", "_v2"):
            unknown: dict[str, str] = {}
            ask = getattr(self._lib, f"{call}{version}", None)
            found = _Asked(self._lib, unknown)(call, ask, self._handles[uuid])
            if found is not None:
                draws = "Graphics" in call
                return [_process(one, draws) for one in found], ""
            why = why or unknown[call]
        return [], why

    def _memory(self, handle: Any) -> Any:
        try:
            return self._lib.nvmlDeviceGetMemoryInfo(handle, version=MEMORY_V2)
        except (self._lib.NVMLError, TypeError):  # an old driver, or an old library
            return self._lib.nvmlDeviceGetMemoryInfo(handle)

    def _temperature(self, handle: Any) -> int:
        try:
            return int(self._lib.nvmlDeviceGetTemperatureV(handle, CORE_SENSOR))
        except (self._lib.NVMLError, AttributeError):
            return int(self._lib.nvmlDeviceGetTemperature(handle, CORE_SENSOR))

    def _events(self, handle: Any) -> int:
        try:
            return int(self._lib.nvmlDeviceGetCurrentClocksEventReasons(handle))
        except (self._lib.NVMLError, AttributeError):
            return int(self._lib.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

    def _field_values(self, handle: Any, unknown: dict[str, str]) -> dict[str, Any]:
        """In one call; each has a return code of its own."""
        found: dict[str, Any] = {}
        throttled: dict[str, int] = {}
        ids = [number for _, number in self._fields]
        values = _Asked(self._lib, unknown)(
            "fields", self._lib.nvmlDeviceGetFieldValues, handle, [(one, 0) for one in ids]
        )
        refused = unknown.pop("fields", "")
        for position, (name, _) in enumerate(self._fields):
            if values is None:
                unknown[name] = refused
                continue
            one = values[position]
            if one.nvmlReturn != 0:
                unknown[name] = str(self._lib.NVMLError(one.nvmlReturn))
                continue
            value = int(getattr(one.value, VALUE_OF[one.valueType]))
            if name.startswith("throttled_ns."):
                throttled[name.partition(".")[2]] = value
            else:
                found[name] = value
        return found | {"throttled_ns": throttled}


class _Asked:
    """Calls, and remembers why there was no answer."""

    def __init__(self, library: Any, unknown: dict[str, str]) -> None:
        self._error, self._unknown = library.NVMLError, unknown

    def __call__(self, name: str, call: Callable[..., Any] | None, *arguments: Any) -> Any:
        if call is None:
            self._unknown[name] = "this nvidia-ml-py does not know the call"
            return None
        try:
            return call(*arguments)
        except self._error as error:
            self._unknown[name] = str(error)
        except Exception as error:  # the library has errors that are none of NVML's
            self._unknown[name] = f"{type(error).__name__}: {error}"
        return None


def _library() -> Any:
    try:
        import pynvml
    except ImportError as error:
        raise NoDevices("nvidia-ml-py is not installed") from error
    return pynvml


def _fields(library: Any) -> list[tuple[str, int]]:
    """Name in a reading → number of the field, as this library has it."""
    throttles = [
        (f"throttled_ns.{name}", getattr(library, constant, number))
        for name, (constant, number) in THROTTLE_FIELDS.items()
    ]
    return [*POWER_FIELDS.items(), *throttles]


def _process(one: Any, draws: bool) -> GpuProcess:
    used = one.usedGpuMemory
    used_bytes = None if used is None else int(used)
    return GpuProcess(pid=int(one.pid), used_bytes=used_bytes, draws=draws)


def _text(value: Any) -> Any:
    """Old libraries give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
