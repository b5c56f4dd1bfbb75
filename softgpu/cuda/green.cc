// Green contexts: contexts whose kernels use some of the card's SMs only. They share the memory of their card;
// a timed kernel takes as many waves as its part of the SMs needs, and on an overlapping card no more SMs.
#include <algorithm>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

struct Description {
  unsigned sms;
};

std::mutex g_mutex;

// Descriptions live as long as the process, as the API has no call to free them; equal ones are one.
CUdevResourceDesc describe(unsigned sms) {
  static auto* all = new std::unordered_map<unsigned, std::unique_ptr<Description>>;
  std::lock_guard guard(g_mutex);
  auto& found = (*all)[sms];
  if (found == nullptr) found = std::make_unique<Description>(Description{sms});
  return reinterpret_cast<CUdevResourceDesc>(found.get());
}

// The smallest part of a card by its architecture, and what parts are multiples of.
unsigned smallest_part(const CardInfo& card) {
  if (card.compute_major >= 9) return 8;
  return card.compute_major == 8 ? 4 : 2;
}
unsigned alignment(const CardInfo& card) {
  return card.compute_major >= 9 ? 8 : 2;
}

CUdevResource resource(const CardInfo& card, unsigned sms) {
  CUdevResource made{};
  made.type = kResourceSm;
  made.sm = {sms, smallest_part(card), alignment(card), 0};
  return made;
}

CUresult give(CUdevResource* out, int type, int device, unsigned sms) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (type != kResourceSm) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
  const CardInfo& card = Driver::get()->info(device);
  *out = resource(card, sms == 0 ? card.sm_count : sms);
  return CUDA_SUCCESS;
}

CUresult resolve(CUgreenCtx handle, Context*& context) {
  TW_DRIVER(driver);
  context = reinterpret_cast<Context*>(handle);
  const bool known = context != nullptr && driver->is_context(context) && context->sms != 0;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

}  // namespace

CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource* out, int type) {
  TW_DRIVER(driver);
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return give(out, type, device, 0);
}
CUresult cuCtxGetDevResource(CUcontext handle, CUdevResource* out, int type) {
  TW_DRIVER(driver);
  const auto* context = reinterpret_cast<const Context*>(handle);
  if (context == nullptr || !driver->is_context(context)) return CUDA_ERROR_INVALID_CONTEXT;
  return give(out, type, context->device, context->sms);
}
CUresult cuGreenCtxGetDevResource(CUgreenCtx handle, CUdevResource* out, int type) {
  Context* context = nullptr;
  if (CUresult error = resolve(handle, context); error != CUDA_SUCCESS) return error;
  return give(out, type, context->device, context->sms);
}

CUresult cuDevSmResourceSplitByCount(CUdevResource* result, unsigned* groups, const CUdevResource* input,
                                     CUdevResource* remainder, unsigned flags, unsigned min_count) {
  TW_DRIVER(driver);
  constexpr unsigned kIgnoreCoscheduling = 1;
  constexpr unsigned kMaxClusterSize = 2;
  if (groups == nullptr || input == nullptr || flags > (kIgnoreCoscheduling | kMaxClusterSize)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (input->type != kResourceSm || input->sm.min_partition == 0) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
  const CUdevSmResource& all = input->sm;
  const unsigned step = (flags & kIgnoreCoscheduling) != 0 ? 2 : std::max(all.alignment, 1u);
  const unsigned wanted = std::max(min_count, (flags & kIgnoreCoscheduling) != 0 ? 2 : all.min_partition);
  const unsigned size = (wanted + step - 1) / step * step;
  const unsigned possible = all.sm_count / size;
  if (possible == 0) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  const unsigned made = result == nullptr ? possible : std::min(*groups, possible);
  *groups = made;
  if (result == nullptr) return CUDA_SUCCESS;
  for (unsigned i = 0; i < made; ++i) {
    result[i] = *input;
    result[i].sm.sm_count = size;
  }
  if (remainder != nullptr) {
    *remainder = *input;
    remainder->sm.sm_count = all.sm_count - made * size;
  }
  return CUDA_SUCCESS;
}

CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* out, CUdevResource* resources, unsigned count) {
  TW_DRIVER(driver);
  if (out == nullptr || resources == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  unsigned sms = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (resources[i].type != kResourceSm) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    sms += resources[i].sm.sm_count;
  }
  if (sms == 0) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  *out = describe(sms);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxCreate(CUgreenCtx* out, CUdevResourceDesc handle, CUdevice device, unsigned flags) {
  TW_DRIVER(driver);
  if (out == nullptr || handle == nullptr || flags != kGreenDefaultStream) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  const unsigned sms = reinterpret_cast<const Description*>(handle)->sms;
  if (sms > driver->info(device).sm_count) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  Context* context = driver->create_context(device, 0, ContextKind::Green, sms);
  if (context == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = reinterpret_cast<CUgreenCtx>(context);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxDestroy(CUgreenCtx handle) {
  Context* context = nullptr;
  if (CUresult error = resolve(handle, context); error != CUDA_SUCCESS) return error;
  Driver::get()->destroy_context(context);
  return CUDA_SUCCESS;
}

CUresult cuCtxFromGreenCtx(CUcontext* out, CUgreenCtx handle) {
  Context* context = nullptr;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve(handle, context); error != CUDA_SUCCESS) return error;
  *out = reinterpret_cast<CUcontext>(context);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxStreamCreate(CUstream* out, CUgreenCtx handle, unsigned flags, int priority) {
  Context* context = nullptr;
  if (out == nullptr || flags != kStreamNonBlocking)
    return CUDA_ERROR_INVALID_VALUE;  // as the driver demands
  if (CUresult error = resolve(handle, context); error != CUDA_SUCCESS) return error;
  *out = reinterpret_cast<CUstream>(Driver::get()->create_stream(context, flags, priority));
  return CUDA_SUCCESS;
}

CUresult cuStreamGetGreenCtx(CUstream handle, CUgreenCtx* out) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, false, stream); error != CUDA_SUCCESS) return error;
  *out = stream->context->sms == 0 ? nullptr : reinterpret_cast<CUgreenCtx>(stream->context);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetId(CUgreenCtx handle, unsigned long long* out) {
  Context* context = nullptr;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve(handle, context); error != CUDA_SUCCESS) return error;
  *out = context->id;
  return CUDA_SUCCESS;
}
