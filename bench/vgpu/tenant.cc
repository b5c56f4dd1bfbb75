// A tenant that keeps its device as busy as it may, until it is killed:
//
//   vgpu_tenant plain|graph|cooperative|mixed KERNEL_NS BLOCKS START_NS
//
// Work goes out without waiting and is waited for every kBatch launches, as a program does that reads
// results. The driver is opened at run time and declared here, so that the preloaded library meets an
// ordinary program.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bench/vgpu/work.h"

namespace {

constexpr int kBatch = 16;
constexpr unsigned kBlockThreads = 256;
constexpr unsigned kNonBlocking = 1;
constexpr int kCaptureRelaxed = 2;

void* g_driver = nullptr;

template <class Signature>
Signature* find(const char* name) {
  void* found = dlsym(g_driver, name);
  if (found == nullptr) {
    std::fprintf(stderr, "vgpu_tenant: the driver has no %s\n", name);
    std::exit(3);
  }
  Signature* function = nullptr;
  std::memcpy(&function, &found, sizeof function);
  return function;
}

void check(const char* name, int code) {
  if (code == 0) return;
  std::fprintf(stderr, "vgpu_tenant: %s failed with driver error %d\n", name, code);
  std::exit(1);
}

// Looks the function up at the first call from this place.
#define TW_CALL(name, signature, ...)                   \
  do {                                                  \
    static const auto function = find<signature>(name); \
    check(name, function(__VA_ARGS__));                 \
  } while (false)

using LaunchKernel = int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                         void**, void**);
using LaunchCooperative = int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                              void*, void**);

class Work {
 public:
  Work(uint64_t kernel_ns, unsigned blocks) : kernel_ns_(kernel_ns), blocks_(blocks) {
    void* module = nullptr;
    TW_CALL("cuModuleLoadData", int(void**, const void*), &module, "tw_spin");
    TW_CALL("cuModuleGetFunction", int(void**, void*, const char*), &function_, module, "tw_spin");
    TW_CALL("cuStreamCreate", int(void**, unsigned), &stream_, kNonBlocking);
  }

  void launch(const std::string& kind, uint64_t number) {
    if (kind == "plain") return plain(kernel_ns_);
    if (kind == "graph") return graph();
    if (kind == "cooperative") return cooperative();
    switch (number % 4) {
      case 0:
        return plain(kernel_ns_);
      case 1:
        return cooperative();
      case 2:
        return graph();
      default:
        return plain(kernel_ns_ / 2);
    }
  }
  void wait() const { TW_CALL("cuStreamSynchronize", int(void*), stream_); }

 private:
  // The shape tells kernels of different length apart, as it does in real programs.
  void plain(uint64_t duration_ns) const {
    void* arguments[] = {&duration_ns};
    const unsigned threads = duration_ns == kernel_ns_ ? kBlockThreads : kBlockThreads / 2;
    TW_CALL("cuLaunchKernel", LaunchKernel, function_, blocks_, 1, 1, threads, 1, 1, 0, stream_, arguments,
            nullptr);
  }
  void cooperative() const {
    uint64_t duration_ns = kernel_ns_;
    void* arguments[] = {&duration_ns};
    TW_CALL("cuLaunchCooperativeKernel", LaunchCooperative, function_, blocks_, 1, 1, kBlockThreads, 1, 1, 0,
            stream_, arguments);
  }
  void graph() {
    if (graph_ == nullptr) make_graph();
    TW_CALL("cuGraphLaunch", int(void*, void*), graph_, stream_);
  }
  void make_graph() {
    void* graph = nullptr;
    TW_CALL("cuStreamBeginCapture_v2", int(void*, int), stream_, kCaptureRelaxed);
    for (uint64_t i = 0; i < tweendeck::bench::graph_kernels(kernel_ns_); ++i) plain(kernel_ns_);
    TW_CALL("cuStreamEndCapture", int(void*, void**), stream_, &graph);
    TW_CALL("cuGraphInstantiateWithFlags", int(void**, void*, unsigned long long), &graph_, graph, 0);
  }

  const uint64_t kernel_ns_;
  const unsigned blocks_;
  void* function_ = nullptr;
  void* stream_ = nullptr;
  void* graph_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: vgpu_tenant plain|graph|cooperative|mixed KERNEL_NS BLOCKS START_NS\n");
    return 2;
  }
  g_driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (g_driver == nullptr) {
    std::fprintf(stderr, "vgpu_tenant: no libcuda.so.1: %s\n", dlerror());
    return 3;
  }
  void* context = nullptr;
  TW_CALL("cuInit", int(unsigned), 0);
  TW_CALL("cuDevicePrimaryCtxRetain", int(void**, int), &context, 0);
  TW_CALL("cuCtxSetCurrent", int(void*), context);
  Work work(std::strtoull(argv[2], nullptr, 10), static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)));
  const std::string kind = argv[1];
  // It comes back after an idle time, by the cards' clock.
  if (const uint64_t start_ns = std::strtoull(argv[4], nullptr, 10); start_ns > 0) {
    find<void(uint64_t)>("tw_softgpu_sleep_until_ns")(start_ns);
  }
  for (uint64_t number = 0;; ++number) {
    work.launch(kind, number);
    if (number % kBatch == kBatch - 1) work.wait();
  }
}
