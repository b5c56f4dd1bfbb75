// The exported calls of memory beyond plain allocations. See api.h.
#pragma once

#include "softgpu/cuda/abi_memory.h"

// pool.cc
TW_EXPORT CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* out, CUdevice device);
TW_EXPORT CUresult cuDeviceGetMemPool(CUmemoryPool* out, CUdevice device);
TW_EXPORT CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool);
TW_EXPORT CUresult cuMemGetDefaultMemPool(CUmemoryPool* out, CUmemLocation* location, int type);
TW_EXPORT CUresult cuMemGetMemPool(CUmemoryPool* out, CUmemLocation* location, int type);
TW_EXPORT CUresult cuMemSetMemPool(CUmemLocation* location, int type, CUmemoryPool pool);
TW_EXPORT CUresult cuMemPoolCreate(CUmemoryPool* out, const CUmemPoolProps* props);
TW_EXPORT CUresult cuMemPoolDestroy(CUmemoryPool handle);
TW_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep);
TW_EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void* value);
TW_EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void* value);
TW_EXPORT CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* access, size_t count);
TW_EXPORT CUresult cuMemPoolGetAccess(int* flags, CUmemoryPool handle, CUmemLocation* location);

// async_memory.cc
TW_EXPORT_BOTH(cuMemAllocAsync, _ptsz, (CUdeviceptr * out, size_t bytes, CUstream stream));
TW_EXPORT_BOTH(cuMemAllocFromPoolAsync, _ptsz,
               (CUdeviceptr * out, size_t bytes, CUmemoryPool pool, CUstream stream));
TW_EXPORT_BOTH(cuMemFreeAsync, _ptsz, (CUdeviceptr address, CUstream stream));

// graph_memory.cc
TW_EXPORT CUresult cuDeviceGraphMemTrim(CUdevice device);
TW_EXPORT CUresult cuDeviceGetGraphMemAttribute(CUdevice device, int attribute, void* value);
TW_EXPORT CUresult cuDeviceSetGraphMemAttribute(CUdevice device, int attribute, void* value);

// managed.cc
TW_EXPORT CUresult cuMemAllocManaged(CUdeviceptr* out, size_t bytes, unsigned flags);
TW_EXPORT CUresult cuMemAdvise(CUdeviceptr address, size_t bytes, int, CUdevice);
TW_EXPORT CUresult cuMemAdvise_v2(CUdeviceptr address, size_t bytes, int, CUmemLocation);
TW_EXPORT_BOTH(cuMemPrefetchAsync, _ptsz, (CUdeviceptr address, size_t bytes, CUdevice, CUstream stream));
TW_EXPORT_BOTH(cuMemPrefetchAsync_v2, _ptsz,
               (CUdeviceptr address, size_t bytes, CUmemLocation, unsigned, CUstream stream));
TW_EXPORT_BOTH(cuStreamAttachMemAsync, _ptsz, (CUstream stream, CUdeviceptr address, size_t, unsigned));

// vmm.cc
TW_EXPORT CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* props, int);
TW_EXPORT CUresult cuMemAddressReserve(CUdeviceptr* out, size_t bytes, size_t alignment, CUdeviceptr,
                                       unsigned long long flags);
TW_EXPORT CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes);
TW_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* out, size_t bytes,
                               const CUmemAllocationProp* props, unsigned long long flags);
TW_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle);
TW_EXPORT CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                            CUmemGenericAllocationHandle handle, unsigned long long flags);
TW_EXPORT CUresult cuMemUnmap(CUdeviceptr address, size_t bytes);
TW_EXPORT CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* access,
                                  size_t count);
TW_EXPORT CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                                  CUdeviceptr address);
TW_EXPORT CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* props,
                                                          CUmemGenericAllocationHandle handle);
TW_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* out, void* pointer);
TW_EXPORT CUresult cuMemExportToShareableHandle(void* out, CUmemGenericAllocationHandle handle, int type,
                                                unsigned long long flags);
TW_EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* out, void* os_handle,
                                                  int type);

// ipc.cc
TW_EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle* out, CUdeviceptr address);
TW_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* out, CUipcMemHandle handle, unsigned flags);
TW_EXPORT CUresult cuIpcOpenMemHandle(CUdeviceptr* out, CUipcMemHandle handle, unsigned flags);
TW_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr address);

// tiles.cc
TW_EXPORT_BOTH(cuMemMapArrayAsync, _ptsz, (CUarrayMapInfo * list, unsigned count, CUstream stream));

// array.cc
TW_EXPORT CUresult cuArrayCreate_v2(CUarray* out, const CUDA_ARRAY_DESCRIPTOR* shape);
TW_EXPORT CUresult cuArray3DCreate_v2(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR* shape);
TW_EXPORT CUresult cuArrayDestroy(CUarray handle);
TW_EXPORT CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* out, CUarray handle);
TW_EXPORT CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* out, CUarray handle);
TW_EXPORT CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* out, CUarray handle,
                                                CUdevice);
TW_EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray* out, const CUDA_ARRAY3D_DESCRIPTOR* shape,
                                          unsigned levels);
TW_EXPORT CUresult cuMipmappedArrayGetLevel(CUarray* out, CUmipmappedArray handle, unsigned level);
TW_EXPORT CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* out,
                                                         CUmipmappedArray handle, CUdevice);
TW_EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray handle);
