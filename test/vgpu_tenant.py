"""A CUDA client for the vgpu tests: ctypes only, every driver function through cuGetProcAddress as real clients do.

Run as a program inside a slice: reads one JSON command per line on stdin, answers one JSON line each.
"""
import ctypes
import json
import sys
import time

U64, P, SIZE, UINT = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint
PER_THREAD = 2
SUCCESS, OUT_OF_MEMORY = 0, 2


class Cuda:
    def __init__(self, flags=0):
        self.flags = flags
        self.library = ctypes.CDLL("libcuda.so.1")
        self.init_result = self.call("cuInit", 2000, UINT(0))
        if self.init_result != SUCCESS:
            return
        self.context = P()
        self.check(self.call("cuDevicePrimaryCtxRetain", 7000, ctypes.byref(self.context), 0))
        self.check(self.call("cuCtxSetCurrent", 4000, self.context))
        module, self.spin_function = P(), P()
        self.check(self.call("cuModuleLoadData", 2000, ctypes.byref(module), b"tw_spin"))
        self.check(self.call("cuModuleGetFunction", 2000, ctypes.byref(self.spin_function), module, b"tw_spin"))

    def function(self, name, version):
        address = P()
        status = ctypes.c_int()
        self.check(self.library.cuGetProcAddress_v2(name.encode(), ctypes.byref(address), version,
                                                    ctypes.c_uint64(self.flags), ctypes.byref(status)))
        if not address.value:
            raise ValueError(f"the driver has no {name}")
        return ctypes.CFUNCTYPE(ctypes.c_int)(address.value)

    def call(self, name, version, *args):
        if not hasattr(self, "_" + name):
            setattr(self, "_" + name, self.function(name, version))
        return getattr(self, "_" + name)(*args)

    @staticmethod
    def check(code):
        if code != SUCCESS:
            raise RuntimeError(f"CUDA error {code}")

    def alloc(self, size):
        address = U64()
        code = self.call("cuMemAlloc", 3020, ctypes.byref(address), SIZE(size))
        return code, address.value

    def pitch(self, width, height):
        address, pitch = U64(), SIZE()
        code = self.call("cuMemAllocPitch", 3020, ctypes.byref(address), ctypes.byref(pitch), SIZE(width), SIZE(height), 4)
        return code, address.value, pitch.value

    def free(self, address):
        return self.call("cuMemFree", 3020, U64(address))

    def info(self):
        free, total = SIZE(), SIZE()
        self.check(self.call("cuMemGetInfo", 3020, ctypes.byref(free), ctypes.byref(total)))
        whole = SIZE()
        self.check(self.call("cuDeviceTotalMem", 3020, ctypes.byref(whole), 0))
        return free.value, total.value, whole.value

    def ipc_export(self, address):
        handle = ctypes.create_string_buffer(64)
        self.check(self.call("cuIpcGetMemHandle", 4010, handle, U64(address)))
        return handle.raw.hex()

    def ipc_open(self, text):
        class Handle(ctypes.Structure):
            _fields_ = [("bytes", ctypes.c_char * 64)]

        address, handle = U64(), Handle.from_buffer_copy(bytes.fromhex(text))
        self.check(self.call("cuIpcOpenMemHandle", 11000, ctypes.byref(address), handle, UINT(1)))
        return address.value

    def ipc_close(self, address):
        return self.call("cuIpcCloseMemHandle", 4010, U64(address))

    def spin(self, nanoseconds, stream=None):
        duration = U64(nanoseconds)
        arguments = (P * 1)(ctypes.addressof(duration))
        return self.call("cuLaunchKernel", 4000, self.spin_function, 1, 1, 1, 1, 1, 1, 0, stream, arguments, None)

    def spin_by(self, how, nanoseconds, stream):
        """By a call of before CUDA 4, or of several devices."""
        duration = U64(nanoseconds)
        self.check(self.call("cuFuncSetBlockShape", 2000, self.spin_function, 1, 1, 1))
        self.check(self.call("cuParamSetv", 2000, self.spin_function, 0, ctypes.byref(duration), UINT(8)))
        if how == "cuLaunch":
            return self.call(how, 2000, self.spin_function)
        if how == "cuLaunchGrid":
            return self.call(how, 2000, self.spin_function, 1, 1)
        if how == "cuLaunchGridAsync":
            return self.call(how, 2000, self.spin_function, 1, 1, stream)

        class Launch(ctypes.Structure):
            _fields_ = [("function", P), ("shape", UINT * 6), ("shared", UINT), ("stream", P), ("parameters", P)]

        arguments = (P * 1)(ctypes.addressof(duration))
        launch = Launch(self.spin_function, (UINT * 6)(1, 1, 1, 1, 1, 1), 0, stream, ctypes.addressof(arguments))
        return self.call("cuLaunchCooperativeKernelMultiDevice", 9000, ctypes.byref(launch), UINT(1), UINT(0))

    def stream(self):
        stream = P()
        self.check(self.call("cuStreamCreate", 2000, ctypes.byref(stream), 1))
        return stream

    def synchronize(self):
        return self.call("cuCtxSynchronize", 2000)


def nvml_view(index):
    import pynvml  # nvidia-ml-py
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    one = pynvml.nvmlDeviceGetMemoryInfo(handle)
    two = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    return [[one.total, one.free, one.used], [two.total, two.free, two.used]]


def fill(cuda, step):
    count = 0
    while True:
        code, _ = cuda.alloc(step)
        if code != SUCCESS:
            return count, code
        count += 1


def spin_for(cuda, durations_ns, seconds, sync_every, streams):
    handles = [None] if streams <= 1 else [cuda.stream() for _ in range(streams)]
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        cuda.check(cuda.spin(durations_ns[count % len(durations_ns)], handles[count % len(handles)]))
        count += 1
        if sync_every and count % sync_every == 0:
            cuda.synchronize()
    return count


def spin_by_for(cuda, how, nanoseconds, seconds):
    stream, end, count = cuda.stream(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        cuda.check(cuda.spin_by(how, nanoseconds, stream))
        cuda.synchronize()
        count += 1
    return count


def churn(cuda, size):
    while True:
        code, address = cuda.alloc(size)
        if code == SUCCESS:
            cuda.free(address)


def main():
    cuda = Cuda(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(json.dumps({"init": cuda.init_result}), flush=True)
    for line in sys.stdin:
        command, *args = json.loads(line)
        if command == "alloc":
            answer = cuda.alloc(*args)
        elif command == "pitch":
            answer = cuda.pitch(*args)
        elif command == "free":
            answer = cuda.free(*args)
        elif command in ("ipc_export", "ipc_open", "ipc_close"):
            answer = getattr(cuda, command)(*args)
        elif command == "info":
            answer = cuda.info()
        elif command == "nvml":
            answer = nvml_view(*args)
        elif command == "fill":
            answer = fill(cuda, *args)
        elif command == "spin":
            answer = spin_for(cuda, *args)
        elif command == "spin_by":
            answer = spin_by_for(cuda, *args)
        elif command == "path":
            import vgpu_paths
            answer = vgpu_paths.exercise(cuda, *args)
        elif command == "churn":
            answer = churn(cuda, *args)
        elif command == "reset":
            answer = cuda.call("cuDevicePrimaryCtxReset", 11000, 0)
        else:
            raise SystemExit(f"unknown command {command}")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
