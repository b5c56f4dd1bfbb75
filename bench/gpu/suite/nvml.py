"""NVML as somebody outside of all slices sees it: the part of it that the suite asks, by ctypes."""
import ctypes

INSUFFICIENT_SIZE = 7
MOST_PROCESSES = 512


class Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("memory_bytes", ctypes.c_ulonglong), ("gpu_instance", ctypes.c_uint),
                ("compute_instance", ctypes.c_uint)]


class Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class NvmlError(Exception):
    pass


class Nvml:
    def __init__(self, library="libnvidia-ml.so.1", index=0):
        try:
            self.library = ctypes.CDLL(library)
        except OSError as error:
            raise NvmlError(str(error)) from error
        self.handle = ctypes.c_void_p()
        self._must("nvmlInit_v2")
        self._must("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(self.handle))

    def _ask(self, name, *args):
        function = getattr(self.library, name, None)
        return -1 if function is None else function(*args)

    def _must(self, name, *args):
        code = self._ask(name, *args)
        if code != 0:
            raise NvmlError(f"{name} answered {code}" if code > 0 else f"there is no {name}")

    def _text(self, name, *args):
        buffer = ctypes.create_string_buffer(128)
        self._must(name, *args, buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    def driver_version(self):
        return self._text("nvmlSystemGetDriverVersion")

    def uuid(self):
        return self._text("nvmlDeviceGetUUID", self.handle)

    def name(self):
        return self._text("nvmlDeviceGetName", self.handle)

    def count(self):
        count = ctypes.c_uint()
        self._must("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return count.value

    def mig(self):
        """'on', 'off', or 'no such thing'."""
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        code = self._ask("nvmlDeviceGetMigMode", self.handle, ctypes.byref(current), ctypes.byref(pending))
        return "no such thing" if code != 0 else "on" if current.value else "off"

    def utilization(self):
        rates = Utilization()
        self._must("nvmlDeviceGetUtilizationRates", self.handle, ctypes.byref(rates))
        return rates.gpu

    def memory(self):
        """total, free, used."""
        values = (ctypes.c_ulonglong * 3)()
        self._must("nvmlDeviceGetMemoryInfo", self.handle, values)
        return tuple(values)

    def processes(self):
        """Bytes by pid, as the driver counts them."""
        count, rows = ctypes.c_uint(MOST_PROCESSES), (Process * MOST_PROCESSES)()
        self._must("nvmlDeviceGetComputeRunningProcesses_v3", self.handle, ctypes.byref(count), rows)
        return {row.pid: row.memory_bytes for row in rows[:count.value]}
