// A tenant that uses CUDA's runtime as programs do: it finds the driver's functions through cuGetProcAddress, and its
// memory, launches and graphs must be held to the slice all the same.
//
//   gpu_runtime memory            takes 32 MiB pieces by cudaMalloc, then by cudaMallocAsync, until refused
//   gpu_runtime spin SECONDS US   kernels and captured graphs in turn; own GPU time over the time that passed
//
// One JSON object on stdout.
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels.cu"

namespace {

constexpr size_t kPiece = 32ull << 20;
constexpr int kMostPieces = 1 << 12;
constexpr int kThreads = 128;
constexpr unsigned long long kRoom = 1 << 20;

void check(const char* what, cudaError_t code) {
  if (code == cudaSuccess) return;
  std::fprintf(stderr, "gpu_runtime: %s: %s\n", what, cudaGetErrorString(code));
  std::exit(1);
}

template <class Take>
size_t take_all(Take take) {
  size_t granted = 0;
  for (int i = 0; i < kMostPieces; ++i) {
    const cudaError_t code = take();
    if (code == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return granted;
    }
    check("an allocation", code);
    granted += kPiece;
  }
  return granted;
}

int memory() {
  size_t free_bytes = 0, total = 0;
  check("cudaMemGetInfo", cudaMemGetInfo(&free_bytes, &total));
  std::vector<void*> held;
  const size_t plain = take_all([&] {
    void* at = nullptr;
    const cudaError_t code = cudaMalloc(&at, kPiece);
    if (code == cudaSuccess) held.push_back(at);
    return code;
  });
  for (void* at : held) check("cudaFree", cudaFree(at));
  const size_t ordered = take_all([&] {
    void* at = nullptr;
    const cudaError_t code = cudaMallocAsync(&at, kPiece, nullptr);
    return code == cudaSuccess ? cudaStreamSynchronize(nullptr) : code;
  });
  std::printf("{\"total_bytes\": %zu, \"free_bytes\": %zu, \"plain_bytes\": %zu, \"ordered_bytes\": %zu}\n", total, free_bytes,
              plain, ordered);
  return 0;
}

int spin(double seconds, unsigned long long kernel_us) {
  using Clock = std::chrono::steady_clock;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  unsigned long long* log = nullptr;
  cudaDeviceProp device{};
  check("cudaGetDeviceProperties", cudaGetDeviceProperties(&device, 0));
  check("cudaStreamCreate", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  check("cudaMalloc", cudaMalloc(&log, sizeof(*log) * (1 + 3 * kRoom)));
  check("cudaMemset", cudaMemset(log, 0, sizeof(*log)));
  const auto launch = [&] { tw_spin<<<device.multiProcessorCount, kThreads, 0, stream>>>(kernel_us * 1000, log, kRoom); };
  check("cudaStreamBeginCapture", cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  launch();
  launch();
  check("cudaStreamEndCapture", cudaStreamEndCapture(stream, &graph));
  check("cudaGraphInstantiate", cudaGraphInstantiate(&exec, graph, 0));
  const auto began = Clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  while (passed() < seconds) {
    launch();
    check("a launch", cudaGetLastError());
    check("cudaGraphLaunch", cudaGraphLaunch(exec, stream));
    check("cudaStreamSynchronize", cudaStreamSynchronize(stream));
  }
  const double elapsed = passed();
  unsigned long long count = 0;
  check("cudaMemcpy", cudaMemcpy(&count, log, sizeof(count), cudaMemcpyDeviceToHost));
  std::vector<unsigned long long> entries(3 * (count < kRoom ? count : kRoom));
  check("cudaMemcpy", cudaMemcpy(entries.data(), log + 1, entries.size() * sizeof(*log), cudaMemcpyDeviceToHost));
  double own_s = 0;
  for (size_t i = 2; i < entries.size(); i += 3) own_s += static_cast<double>(entries[i]) / 1e9;
  std::printf("{\"kernels\": %llu, \"elapsed_s\": %.3f, \"share_percent\": %.2f}\n", count, elapsed, 100 * own_s / elapsed);
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count == 2 && std::strcmp(words[1], "memory") == 0) return memory();
  if (count == 4 && std::strcmp(words[1], "spin") == 0) return spin(std::atof(words[2]), std::strtoull(words[3], nullptr, 10));
  std::fprintf(stderr, "usage: gpu_runtime memory | spin SECONDS US\n");
  return 2;
}
