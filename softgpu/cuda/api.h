// Every call that the stand-in exports, in our own words: names and parameter types are the ABI's.
//
// All are safe from any thread. What a call means is the CUDA driver API's; where the stand-in differs, the
// .cc says so. Calls outside this list do not exist here: cuGetProcAddress answers "not found".
#pragma once

#include "softgpu/cuda/abi.h"
#include "softgpu/cuda/abi_green.h"
#include "softgpu/cuda/api_graph.h"
#include "softgpu/cuda/api_memory.h"

// device.cc
TW_EXPORT CUresult cuInit(unsigned flags);
TW_EXPORT CUresult cuDriverGetVersion(int* version);
TW_EXPORT CUresult cuGetErrorName(CUresult code, const char** name);
TW_EXPORT CUresult cuGetErrorString(CUresult code, const char** text);
TW_EXPORT CUresult cuDeviceGetCount(int* count);
TW_EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal);
TW_EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device);
TW_EXPORT CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device);
TW_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device);
TW_EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device);
TW_EXPORT CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device);
TW_EXPORT CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device);
TW_EXPORT CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device);
TW_EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice* device, const char* text);
TW_EXPORT CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer);

// context.cc
TW_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice ordinal);
TW_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal);
TW_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice ordinal);
TW_EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned flags);
TW_EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned* flags, int* active);
TW_EXPORT CUresult cuCtxCreate_v2(CUcontext* out, unsigned flags, CUdevice device);
TW_EXPORT CUresult cuCtxCreate_v3(CUcontext* out, void* affinity, int affinities, unsigned flags,
                                  CUdevice device);
TW_EXPORT CUresult cuCtxCreate_v4(CUcontext* out, void* parameters, unsigned flags, CUdevice device);
TW_EXPORT CUresult cuCtxDestroy_v2(CUcontext handle);
TW_EXPORT CUresult cuCtxGetCurrent(CUcontext* out);
TW_EXPORT CUresult cuCtxSetCurrent(CUcontext handle);
TW_EXPORT CUresult cuCtxPushCurrent_v2(CUcontext handle);
TW_EXPORT CUresult cuCtxPopCurrent_v2(CUcontext* out);
TW_EXPORT CUresult cuCtxGetDevice(CUdevice* device);
TW_EXPORT CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext handle);
TW_EXPORT CUresult cuCtxSynchronize();
TW_EXPORT CUresult cuCtxSynchronize_v2(CUcontext handle);
TW_EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest);
TW_EXPORT CUresult cuCtxGetFlags(unsigned* flags);
TW_EXPORT CUresult cuCtxGetId(CUcontext handle, unsigned long long* id);
TW_EXPORT CUresult cuCtxGetApiVersion(CUcontext handle, unsigned* version);
TW_EXPORT CUresult cuCtxGetLimit(size_t* value, int limit);
TW_EXPORT CUresult cuCtxSetLimit(int limit, size_t value);
TW_EXPORT CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags);
TW_EXPORT CUresult cuCtxDisablePeerAccess(CUcontext peer);

// memory.cc
TW_EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total);
TW_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes);
TW_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                                      unsigned element_bytes);
TW_EXPORT CUresult cuMemFree_v2(CUdeviceptr address);
TW_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address);
TW_EXPORT CUresult cuMemAllocHost_v2(void** out, size_t bytes);
TW_EXPORT CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned);
TW_EXPORT CUresult cuMemFreeHost(void* pointer);
TW_EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* pointer, unsigned flags);
TW_EXPORT CUresult cuMemHostGetFlags(unsigned* flags, void* pointer);
TW_EXPORT CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned);
TW_EXPORT CUresult cuMemHostUnregister(void* pointer);

// transfer.cc
TW_EXPORT_BOTH(cuMemcpyHtoA_v2, _ptds, (CUarray to, size_t offset, const void* from, size_t n));
TW_EXPORT_BOTH(cuMemcpyAtoH_v2, _ptds, (void* to, CUarray from, size_t offset, size_t n));
TW_EXPORT_BOTH(cuMemcpyDtoA_v2, _ptds, (CUarray to, size_t offset, CUdeviceptr from, size_t n));
TW_EXPORT_BOTH(cuMemcpyAtoD_v2, _ptds, (CUdeviceptr to, CUarray from, size_t offset, size_t n));
TW_EXPORT_BOTH(cuMemcpyAtoA_v2, _ptds,
               (CUarray to, size_t to_offset, CUarray from, size_t from_offset, size_t n));
TW_EXPORT_BOTH(cuMemcpyHtoAAsync_v2, _ptsz,
               (CUarray to, size_t offset, const void* from, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpyAtoHAsync_v2, _ptsz,
               (void* to, CUarray from, size_t offset, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpy, _ptds, (CUdeviceptr to, CUdeviceptr from, size_t n));
TW_EXPORT_BOTH(cuMemcpyHtoD_v2, _ptds, (CUdeviceptr to, const void* from, size_t n));
TW_EXPORT_BOTH(cuMemcpyDtoH_v2, _ptds, (void* to, CUdeviceptr from, size_t n));
TW_EXPORT_BOTH(cuMemcpyDtoD_v2, _ptds, (CUdeviceptr to, CUdeviceptr from, size_t n));
TW_EXPORT_BOTH(cuMemcpyPeer, _ptds, (CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n));
TW_EXPORT_BOTH(cuMemcpyAsync, _ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpyHtoDAsync_v2, _ptsz, (CUdeviceptr to, const void* from, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpyDtoHAsync_v2, _ptsz, (void* to, CUdeviceptr from, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpyDtoDAsync_v2, _ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpyPeerAsync, _ptsz,
               (CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemcpy2D_v2, _ptds, (const CUDA_MEMCPY2D* c));
TW_EXPORT_BOTH(cuMemcpy2DUnaligned_v2, _ptds, (const CUDA_MEMCPY2D* c));
TW_EXPORT_BOTH(cuMemcpy2DAsync_v2, _ptsz, (const CUDA_MEMCPY2D* c, CUstream stream));
TW_EXPORT_BOTH(cuMemcpy3D_v2, _ptds, (const CUDA_MEMCPY3D* c));
TW_EXPORT_BOTH(cuMemcpy3DAsync_v2, _ptsz, (const CUDA_MEMCPY3D* c, CUstream stream));
TW_EXPORT_BOTH(cuMemcpy3DPeer, _ptds, (const CUDA_MEMCPY3D* c));
TW_EXPORT_BOTH(cuMemcpy3DPeerAsync, _ptsz, (const CUDA_MEMCPY3D* c, CUstream stream));
TW_EXPORT_BOTH(cuMemsetD8_v2, _ptds, (CUdeviceptr to, unsigned char value, size_t n));
TW_EXPORT_BOTH(cuMemsetD16_v2, _ptds, (CUdeviceptr to, unsigned short value, size_t n));
TW_EXPORT_BOTH(cuMemsetD32_v2, _ptds, (CUdeviceptr to, unsigned value, size_t n));
TW_EXPORT_BOTH(cuMemsetD8Async, _ptsz, (CUdeviceptr to, unsigned char value, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemsetD16Async, _ptsz, (CUdeviceptr to, unsigned short value, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemsetD32Async, _ptsz, (CUdeviceptr to, unsigned value, size_t n, CUstream stream));
TW_EXPORT_BOTH(cuMemsetD2D8_v2, _ptds,
               (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height));
TW_EXPORT_BOTH(cuMemsetD2D16_v2, _ptds,
               (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height));
TW_EXPORT_BOTH(cuMemsetD2D32_v2, _ptds,
               (CUdeviceptr to, size_t pitch, unsigned value, size_t width, size_t height));
TW_EXPORT_BOTH(cuMemsetD2D8Async, _ptsz,
               (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height,
                CUstream stream));
TW_EXPORT_BOTH(cuMemsetD2D16Async, _ptsz,
               (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height,
                CUstream stream));
TW_EXPORT_BOTH(cuMemsetD2D32Async, _ptsz,
               (CUdeviceptr to, size_t pitch, unsigned value, size_t width, size_t height, CUstream stream));

// pointer.cc
TW_EXPORT CUresult cuPointerGetAttribute(void* out, int attribute, CUdeviceptr address);
TW_EXPORT CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** data, CUdeviceptr address);

// module.cc
TW_EXPORT CUresult cuModuleLoad(CUmodule* out, const char* path);
TW_EXPORT CUresult cuModuleLoadData(CUmodule* out, const void* image);
TW_EXPORT CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned, int*, void**);
TW_EXPORT CUresult cuModuleLoadFatBinary(CUmodule* out, const void* image);
TW_EXPORT CUresult cuModuleUnload(CUmodule module);
TW_EXPORT CUresult cuModuleGetFunction(CUfunction* out, CUmodule module, const char* name);
TW_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, CUmodule, const char*);
TW_EXPORT CUresult cuModuleGetLoadingMode(int* mode);
TW_EXPORT CUresult cuLibraryLoadData(CUlibrary* out, const void* image, int*, void**, unsigned, int*, void**,
                                     unsigned);
TW_EXPORT CUresult cuLibraryLoadFromFile(CUlibrary* out, const char* path, int*, void**, unsigned, int*,
                                         void**, unsigned);
TW_EXPORT CUresult cuLibraryUnload(CUlibrary library);
TW_EXPORT CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary library, const char* name);
TW_EXPORT CUresult cuLibraryGetModule(CUmodule* out, CUlibrary library);
TW_EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr*, size_t*, CUlibrary, const char*);
TW_EXPORT CUresult cuKernelGetFunction(CUfunction* out, CUkernel kernel);
TW_EXPORT CUresult cuKernelGetLibrary(CUlibrary* out, CUkernel kernel);
TW_EXPORT CUresult cuKernelGetName(const char** name, CUkernel kernel);
TW_EXPORT CUresult cuFuncGetName(const char** name, CUfunction function);
TW_EXPORT CUresult cuFuncGetModule(CUmodule* out, CUfunction function);
TW_EXPORT CUresult cuKernelGetAttribute(int* out, int attribute, CUkernel kernel, CUdevice device);
TW_EXPORT CUresult cuFuncGetAttribute(int* out, int attribute, CUfunction function);
TW_EXPORT CUresult cuFuncSetAttribute(CUfunction function, int, int);
TW_EXPORT CUresult cuKernelSetAttribute(int, int, CUkernel kernel, CUdevice);
TW_EXPORT CUresult cuFuncSetCacheConfig(CUfunction function, int);
TW_EXPORT CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* bytes);
TW_EXPORT CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t* offset, size_t* bytes);

// link.cc
TW_EXPORT CUresult cuLinkCreate_v2(unsigned, int*, void**, CUlinkState* out);
TW_EXPORT CUresult cuLinkAddData_v2(CUlinkState state, int, void* data, size_t bytes, const char* name,
                                    unsigned, int*, void**);
TW_EXPORT CUresult cuLinkAddFile_v2(CUlinkState state, int, const char* path, unsigned, int*, void**);
TW_EXPORT CUresult cuLinkComplete(CUlinkState state, void** image, size_t* bytes);
TW_EXPORT CUresult cuLinkDestroy(CUlinkState state);

// launch.cc
TW_EXPORT CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                  unsigned by, unsigned bz, unsigned shared, CUstream stream,
                                  void** parameters, void** extra);
TW_EXPORT CUresult cuLaunchKernel_ptsz(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                       unsigned by, unsigned bz, unsigned shared, CUstream stream,
                                       void** parameters, void** extra);
TW_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** parameters,
                                    void** extra);
TW_EXPORT CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig* config, CUfunction f, void** parameters,
                                         void** extra);
TW_EXPORT_BOTH(cuLaunchCooperativeKernel, _ptsz,
               (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, CUstream stream, void** parameters));
TW_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int block_size,
                                                               size_t);
TW_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction,
                                                                        int block_size, size_t, unsigned);

// old_launch.cc
TW_EXPORT CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z);
TW_EXPORT CUresult cuFuncSetSharedSize(CUfunction f, unsigned bytes);
TW_EXPORT CUresult cuParamSetSize(CUfunction f, unsigned bytes);
TW_EXPORT CUresult cuParamSetv(CUfunction f, int offset, void* value, unsigned bytes);
TW_EXPORT CUresult cuParamSeti(CUfunction f, int offset, unsigned value);
TW_EXPORT CUresult cuParamSetf(CUfunction f, int offset, float value);
TW_EXPORT CUresult cuLaunch(CUfunction f);
TW_EXPORT CUresult cuLaunchGrid(CUfunction f, int width, int height);
TW_EXPORT CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream);
TW_EXPORT CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS* launches, unsigned count,
                                                        unsigned flags);

// stream.cc
TW_EXPORT CUresult cuStreamCreate(CUstream* out, unsigned flags);
TW_EXPORT CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int priority);
TW_EXPORT CUresult cuStreamDestroy_v2(CUstream handle);
TW_EXPORT CUresult cuStreamSynchronize(CUstream stream);
TW_EXPORT CUresult cuStreamSynchronize_ptsz(CUstream stream);
TW_EXPORT CUresult cuStreamQuery(CUstream stream);
TW_EXPORT CUresult cuStreamQuery_ptsz(CUstream stream);
TW_EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
TW_EXPORT CUresult cuStreamWaitEvent_ptsz(CUstream stream, CUevent event, unsigned flags);
TW_EXPORT CUresult cuStreamGetFlags(CUstream s, unsigned* out);
TW_EXPORT CUresult cuStreamGetFlags_ptsz(CUstream s, unsigned* out);
TW_EXPORT CUresult cuStreamGetPriority(CUstream s, int* out);
TW_EXPORT CUresult cuStreamGetPriority_ptsz(CUstream s, int* out);
TW_EXPORT CUresult cuStreamGetId(CUstream s, unsigned long long* out);
TW_EXPORT CUresult cuStreamGetId_ptsz(CUstream s, unsigned long long* out);
TW_EXPORT CUresult cuStreamGetCtx(CUstream s, CUcontext* out);
TW_EXPORT CUresult cuStreamGetCtx_ptsz(CUstream s, CUcontext* out);
TW_EXPORT CUresult cuStreamGetDevice(CUstream s, CUdevice* out);
TW_EXPORT CUresult cuStreamGetDevice_ptsz(CUstream s, CUdevice* out);
TW_EXPORT CUresult cuEventCreate(CUevent* out, unsigned flags);
TW_EXPORT CUresult cuEventDestroy_v2(CUevent handle);
TW_EXPORT CUresult cuEventRecord(CUevent event, CUstream stream);
TW_EXPORT CUresult cuEventRecord_ptsz(CUevent event, CUstream stream);
TW_EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags);
TW_EXPORT CUresult cuEventRecordWithFlags_ptsz(CUevent event, CUstream stream, unsigned flags);
TW_EXPORT CUresult cuEventQuery(CUevent handle);
TW_EXPORT CUresult cuEventSynchronize(CUevent handle);
TW_EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start_handle, CUevent end_handle);
TW_EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end);

// entry.cc
TW_EXPORT CUresult cuGetProcAddress(const char* symbol, void** pfn, int version, uint64_t flags);
TW_EXPORT CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int version, uint64_t flags,
                                       CUdriverProcAddressQueryResult* status);
TW_EXPORT CUresult cuGetExportTable(const void** table, const CUuuid*);
TW_EXPORT uint64_t tw_softgpu_now_ns();
TW_EXPORT void tw_softgpu_sleep_until_ns(uint64_t time_ns);

// green.cc
TW_EXPORT CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource* out, int type);
TW_EXPORT CUresult cuCtxGetDevResource(CUcontext handle, CUdevResource* out, int type);
TW_EXPORT CUresult cuGreenCtxGetDevResource(CUgreenCtx handle, CUdevResource* out, int type);
TW_EXPORT CUresult cuDevSmResourceSplitByCount(CUdevResource* result, unsigned* groups,
                                               const CUdevResource* input, CUdevResource* remainder,
                                               unsigned flags, unsigned min_count);
TW_EXPORT CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* out, CUdevResource* resources,
                                             unsigned count);
TW_EXPORT CUresult cuGreenCtxCreate(CUgreenCtx* out, CUdevResourceDesc handle, CUdevice device,
                                    unsigned flags);
TW_EXPORT CUresult cuGreenCtxDestroy(CUgreenCtx handle);
TW_EXPORT CUresult cuCtxFromGreenCtx(CUcontext* out, CUgreenCtx handle);
TW_EXPORT CUresult cuGreenCtxStreamCreate(CUstream* out, CUgreenCtx handle, unsigned flags, int priority);
TW_EXPORT CUresult cuStreamGetGreenCtx(CUstream handle, CUgreenCtx* out);
TW_EXPORT CUresult cuGreenCtxGetId(CUgreenCtx handle, unsigned long long* out);
