// The exported calls of graphs, stream capture and host functions. See api.h.
#pragma once

#include "softgpu/cuda/abi_graph.h"

// capture.cc
TW_EXPORT_BOTH(cuStreamBeginCapture, _ptsz, (CUstream stream));
TW_EXPORT_BOTH(cuStreamBeginCapture_v2, _ptsz, (CUstream stream, CUstreamCaptureMode mode));
TW_EXPORT_BOTH(cuStreamBeginCaptureToGraph, _ptsz,
               (CUstream stream, CUgraph graph, const CUgraphNode* dependencies, const CUgraphEdgeData*,
                size_t count, CUstreamCaptureMode mode));
TW_EXPORT_BOTH(cuStreamEndCapture, _ptsz, (CUstream stream, CUgraph* out));
TW_EXPORT_BOTH(cuStreamIsCapturing, _ptsz, (CUstream stream, CUstreamCaptureStatus* status));
TW_EXPORT_BOTH(cuStreamGetCaptureInfo, _ptsz, (CUstream stream, CUstreamCaptureStatus* status, uint64_t* id));
TW_EXPORT_BOTH(cuStreamGetCaptureInfo_v2, _ptsz,
               (CUstream stream, CUstreamCaptureStatus* status, uint64_t* id, CUgraph* graph,
                const CUgraphNode** dependencies, size_t* count));
TW_EXPORT_BOTH(cuStreamGetCaptureInfo_v3, _ptsz,
               (CUstream stream, CUstreamCaptureStatus* status, uint64_t* id, CUgraph* graph,
                const CUgraphNode** dependencies, const CUgraphEdgeData** edges, size_t* count));
TW_EXPORT_BOTH(cuStreamUpdateCaptureDependencies, _ptsz,
               (CUstream stream, CUgraphNode* dependencies, size_t count, unsigned flags));
TW_EXPORT_BOTH(cuStreamUpdateCaptureDependencies_v2, _ptsz,
               (CUstream stream, CUgraphNode* dependencies, const CUgraphEdgeData*, size_t count,
                unsigned flags));
TW_EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode);

// host_functions.cc
TW_EXPORT_BOTH(cuLaunchHostFunc, _ptsz, (CUstream stream, CUhostFn function, void* data));
TW_EXPORT_BOTH(cuStreamAddCallback, _ptsz,
               (CUstream stream, CUstreamCallback callback, void* data, unsigned flags));

// graph_api.cc
TW_EXPORT CUresult cuGraphCreate(CUgraph* out, unsigned flags);
TW_EXPORT CUresult cuGraphDestroy(CUgraph handle);
TW_EXPORT CUresult cuGraphClone(CUgraph* out, CUgraph original);
TW_EXPORT CUresult cuGraphNodeFindInClone(CUgraphNode* out, CUgraphNode original, CUgraph clone);
TW_EXPORT CUresult cuGraphDestroyNode(CUgraphNode handle);
TW_EXPORT CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count);
TW_EXPORT CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode* nodes, size_t* count);
TW_EXPORT CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode* from, CUgraphNode* to, size_t* count);
TW_EXPORT CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode* from, CUgraphNode* to,
                                      CUgraphEdgeData* edges, size_t* count);
TW_EXPORT CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode* out, size_t* count);
TW_EXPORT CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode* out, CUgraphEdgeData* edges,
                                                 size_t* count);
TW_EXPORT CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode* out, size_t* count);
TW_EXPORT CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode* out, CUgraphEdgeData* edges,
                                                   size_t* count);
TW_EXPORT CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                          size_t count);
TW_EXPORT CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                             const CUgraphEdgeData*, size_t count);
TW_EXPORT CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                             size_t count);
TW_EXPORT CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                                const CUgraphEdgeData*, size_t count);
TW_EXPORT CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType* type);
TW_EXPORT CUresult cuGraphNodeGetContainingGraph(CUgraphNode handle, CUgraph* graph);
TW_EXPORT CUresult cuGraphNodeGetLocalId(CUgraphNode handle, unsigned* id);
TW_EXPORT CUresult cuGraphNodeGetToolsId(CUgraphNode handle, unsigned long long* id);
TW_EXPORT CUresult cuGraphGetId(CUgraph handle, unsigned* id);

// graph_nodes.cc
TW_EXPORT CUresult cuGraphAddKernelNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                        size_t count, const CUDA_KERNEL_NODE_PARAMS_v1* p);
TW_EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                           size_t count, const CUDA_KERNEL_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphKernelNodeGetParams(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v1* out);
TW_EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS* out);
TW_EXPORT CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1* p);
TW_EXPORT CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                                  const CUDA_KERNEL_NODE_PARAMS_v1* p);
TW_EXPORT CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                                     const CUDA_KERNEL_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphAddMemcpyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                        size_t count, const CUDA_MEMCPY3D* p, CUcontext);
TW_EXPORT CUresult cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUDA_MEMCPY3D* out);
TW_EXPORT CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D* p);
TW_EXPORT CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D* p,
                                                  CUcontext);
TW_EXPORT CUresult cuGraphAddMemsetNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                        size_t count, const CUDA_MEMSET_NODE_PARAMS* p, CUcontext);
TW_EXPORT CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS* out);
TW_EXPORT CUresult cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                                  const CUDA_MEMSET_NODE_PARAMS* p, CUcontext);
TW_EXPORT CUresult cuGraphAddHostNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                      size_t count, const CUDA_HOST_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS* out);
TW_EXPORT CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                                const CUDA_HOST_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphAddEmptyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                       size_t count);
TW_EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                            size_t count, CUgraph child);
TW_EXPORT CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph* out);
TW_EXPORT CUresult cuGraphAddEventRecordNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                             size_t count, CUevent event);
TW_EXPORT CUresult cuGraphAddEventWaitNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                           size_t count, CUevent event);
TW_EXPORT CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode handle, CUevent* out);
TW_EXPORT CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode handle, CUevent* out);
TW_EXPORT CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event);
TW_EXPORT CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event);
TW_EXPORT CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event);
TW_EXPORT CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event);
TW_EXPORT CUresult cuGraphAddMemAllocNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                          size_t count, CUDA_MEM_ALLOC_NODE_PARAMS* p);
TW_EXPORT CUresult cuGraphMemAllocNodeGetParams(CUgraphNode handle, CUDA_MEM_ALLOC_NODE_PARAMS* out);
TW_EXPORT CUresult cuGraphAddMemFreeNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                         size_t count, CUdeviceptr address);
TW_EXPORT CUresult cuGraphMemFreeNodeGetParams(CUgraphNode handle, CUdeviceptr* out);
TW_EXPORT CUresult cuGraphAddNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                  size_t count, CUgraphNodeParams* p);
TW_EXPORT CUresult cuGraphAddNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                     const CUgraphEdgeData*, size_t count, CUgraphNodeParams* p);
TW_EXPORT CUresult cuGraphNodeSetParams(CUgraphNode handle, CUgraphNodeParams* p);
TW_EXPORT CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams* p);

// graph_exec.cc
TW_EXPORT CUresult cuGraphInstantiate(CUgraphExec* out, CUgraph graph, CUgraphNode* error_node, char* log,
                                      size_t bytes);
TW_EXPORT CUresult cuGraphInstantiate_v2(CUgraphExec* out, CUgraph graph, CUgraphNode* error_node, char* log,
                                         size_t bytes);
TW_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph graph, unsigned long long flags);
TW_EXPORT_BOTH(cuGraphInstantiateWithParams, _ptsz,
               (CUgraphExec * out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters));
TW_EXPORT_BOTH(cuGraphLaunch, _ptsz, (CUgraphExec exec, CUstream stream));
TW_EXPORT_BOTH(cuGraphUpload, _ptsz, (CUgraphExec exec, CUstream stream));
TW_EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle);
TW_EXPORT CUresult cuGraphExecGetFlags(CUgraphExec handle, uint64_t* flags);
TW_EXPORT CUresult cuGraphExecGetId(CUgraphExec handle, unsigned* id);
TW_EXPORT CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode* error_node,
                                     CUgraphExecUpdateResult* result);
TW_EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo* info);
TW_EXPORT CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned enabled);
TW_EXPORT CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode node, unsigned* enabled);

// graph_object.cc
TW_EXPORT CUresult cuUserObjectCreate(CUuserObject* out, void* pointer, CUhostFn destroy, unsigned references,
                                      unsigned flags);
TW_EXPORT CUresult cuUserObjectRetain(CUuserObject handle, unsigned count);
TW_EXPORT CUresult cuUserObjectRelease(CUuserObject handle, unsigned count);
TW_EXPORT CUresult cuGraphRetainUserObject(CUgraph graph_handle, CUuserObject handle, unsigned count,
                                           unsigned flags);
TW_EXPORT CUresult cuGraphReleaseUserObject(CUgraph graph_handle, CUuserObject handle, unsigned count);
