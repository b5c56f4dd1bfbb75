"""Every way to get device memory, as a CUDA client sees it: one class per path, ctypes over vgpu_tenant.Cuda.

Each has get() -> (code, token) for UNIT bytes and put(token).
"""
import ctypes

from vgpu_tenant import P, SIZE, SUCCESS, U64, UINT

UNIT = 2 << 20
MOST = 64  # tokens of one path: more than any test has room for
WIDTH, HEIGHT, CHANNELS = 1024, 512, 4  # of bytes: one UNIT
UNSIGNED_INT8, FLOAT = 0x01, 0x20


class Path:
    def __init__(self, cuda):
        self.cuda = cuda

    def call(self, name, version, *args):
        return self.cuda.call(name, version, *args)

    def check(self, name, version, *args):
        code = self.call(name, version, *args)
        assert code == SUCCESS, f"{name}: CUDA error {code}"


class Linear(Path):
    def get(self):
        address = U64()
        return self.call("cuMemAlloc", 3020, ctypes.byref(address), SIZE(UNIT)), address

    def put(self, address):
        self.check("cuMemFree", 3020, address)


class Pitched(Linear):
    def get(self):
        address, pitch = U64(), SIZE()
        code = self.call("cuMemAllocPitch", 3020, ctypes.byref(address), ctypes.byref(pitch), SIZE(4096), SIZE(UNIT // 4096), 4)
        assert code != SUCCESS or pitch.value == 4096
        return code, address


class Managed(Linear):
    def get(self):
        address = U64()
        return self.call("cuMemAllocManaged", 6000, ctypes.byref(address), SIZE(UNIT), UINT(1)), address


class Array(Path):
    class Descriptor(ctypes.Structure):
        _fields_ = [("width", SIZE), ("height", SIZE), ("format", ctypes.c_int), ("channels", UINT)]

    def get(self):
        array, descriptor = P(), self.Descriptor(WIDTH, HEIGHT, UNSIGNED_INT8, CHANNELS)
        return self.call("cuArrayCreate", 3020, ctypes.byref(array), ctypes.byref(descriptor)), array

    def put(self, array):
        self.check("cuArrayDestroy", 2000, array)


class Array3D(Array):
    class Descriptor(ctypes.Structure):
        _fields_ = [("width", SIZE), ("height", SIZE), ("depth", SIZE), ("format", ctypes.c_int), ("channels", UINT), ("flags", UINT)]

    def get(self):
        array, descriptor = P(), self.Descriptor(64, 64, 128, FLOAT, 1, 0)
        return self.call("cuArray3DCreate", 3020, ctypes.byref(array), ctypes.byref(descriptor)), array


class Mipmap(Path):
    def get(self):
        array, descriptor = P(), Array3D.Descriptor(WIDTH, HEIGHT, 0, UNSIGNED_INT8, CHANNELS, 0)
        return self.call("cuMipmappedArrayCreate", 5000, ctypes.byref(array), ctypes.byref(descriptor), UINT(1)), array

    def put(self, array):
        self.check("cuMipmappedArrayDestroy", 5000, array)


class Properties(ctypes.Structure):
    """CUmemAllocationProp and CUmemPoolProps: pinned memory of device 0."""
    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location_type", ctypes.c_int), ("location", ctypes.c_int),
                ("rest", ctypes.c_uint64 * 16)]

    def __init__(self):
        super().__init__(1, 0, 1, 0)


class Virtual(Path):
    """Handles only."""

    def create(self):
        handle, properties = U64(), Properties()
        return self.call("cuMemCreate", 10020, ctypes.byref(handle), SIZE(UNIT), ctypes.byref(properties), U64(0)), handle

    def get(self):
        return self.create()

    def put(self, handle):
        self.check("cuMemRelease", 10020, handle)


class Mapped(Virtual):
    """Mapped twice, and the handle released at once: the mappings keep the memory."""

    def get(self):
        code, handle = self.create()
        if code != SUCCESS:
            return code, None
        address = U64()
        self.check("cuMemAddressReserve", 10020, ctypes.byref(address), SIZE(2 * UNIT), SIZE(0), U64(0), U64(0))
        for at in (address.value, address.value + UNIT):
            self.check("cuMemMap", 10020, U64(at), SIZE(UNIT), SIZE(0), handle, U64(0))
        self.check("cuMemRelease", 10020, handle)
        return code, address

    def put(self, address):
        self.check("cuMemUnmap", 10020, address, SIZE(2 * UNIT))
        self.check("cuMemAddressFree", 10020, address, SIZE(2 * UNIT))


class Async(Path):
    """The device's default pool, which gives back what it holds when the device is synchronised."""

    def get(self):
        address = U64()
        return self.call("cuMemAllocAsync", 11020, ctypes.byref(address), SIZE(UNIT), None), address

    def put(self, address):
        self.check("cuMemFreeAsync", 11020, address, None)
        self.check("cuStreamSynchronize", 2000, None)


class Pool(Async):
    """A pool of the program's own."""

    def __init__(self, cuda):
        super().__init__(cuda)
        self.pool, properties = P(), Properties()
        self.check("cuMemPoolCreate", 11020, ctypes.byref(self.pool), ctypes.byref(properties))

    def get(self):
        address = U64()
        return self.call("cuMemAllocFromPoolAsync", 11020, ctypes.byref(address), SIZE(UNIT), self.pool, None), address


class Graph(Path):
    """A graph whose one node allocates: its memory is taken at the first launch and kept."""

    class Node(ctypes.Structure):
        _fields_ = [("pool", ctypes.c_int * 4), ("rest", ctypes.c_char * 72), ("access", P), ("access_count", SIZE), ("bytes", SIZE),
                    ("address", U64)]

    def get(self):
        graph, node, executable = P(), P(), P()
        self.check("cuGraphCreate", 10000, ctypes.byref(graph), UINT(0))
        params = self.Node((ctypes.c_int * 4)(1, 0, 1, 0), b"", None, 0, UNIT, 0)
        self.check("cuGraphAddMemAllocNode", 11040, ctypes.byref(node), graph, None, SIZE(0), ctypes.byref(params))
        self.check("cuGraphInstantiateWithFlags", 11040, ctypes.byref(executable), graph, U64(0))
        code = self.call("cuGraphLaunch", 10000, executable, None)
        if code != SUCCESS:
            self.destroy(graph, executable)
        return code, (graph, executable, U64(params.address))

    def destroy(self, graph, executable):
        self.check("cuGraphExecDestroy", 10000, executable)
        self.check("cuGraphDestroy", 10000, graph)

    def put(self, token):
        self.check("cuMemFreeAsync", 11020, token[2], None)
        self.check("cuStreamSynchronize", 2000, None)
        self.destroy(*token[:2])


class TrimmedGraph(Graph):
    """What a graph keeps after its memory is freed is given back by a trim; its next launch takes it again."""

    def put(self, token):
        for again in (True, False):
            self.check("cuMemFreeAsync", 11020, token[2], None)
            self.check("cuStreamSynchronize", 2000, None)
            self.check("cuDeviceGraphMemTrim", 11040, 0)
            if again:
                self.check("cuGraphLaunch", 10000, token[1], None)
        self.destroy(*token[:2])


class Module(Path):
    """Code: a module takes UNIT on a software GPU."""

    def get(self):
        module = P()
        return self.call("cuModuleLoadData", 2000, ctypes.byref(module), b"tw_spin"), module

    def put(self, module):
        self.check("cuModuleUnload", 2000, module)


PATHS = {kind.__name__.lower(): kind for kind in
         (Linear, Pitched, Managed, Array, Array3D, Mipmap, Virtual, Mapped, Async, Pool, Graph, TrimmedGraph, Module)}


def exercise(cuda, name):
    """Fills the slice, frees one and takes it again, frees all: [granted, last code, granted again, granted after all]."""
    path = PATHS[name](cuda)

    def fill():
        tokens = []
        while len(tokens) < MOST:
            code, token = path.get()
            if code != SUCCESS:
                return tokens, code
            tokens.append(token)
        return tokens, SUCCESS

    tokens, code = fill()
    granted = len(tokens)
    path.put(tokens.pop())
    more, _ = fill()
    for token in tokens + more:
        path.put(token)
    rest, _ = fill()
    for token in rest:
        path.put(token)
    return [granted, code, len(more), len(rest)]
