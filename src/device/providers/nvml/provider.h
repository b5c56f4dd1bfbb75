// GPUs that NVML describes and the vgpu library divides: what the providers `nvidia` and `soft` have in
// common. Contract: device/provider.h. A slice exists exactly when its folder of pages exists.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "device/provider.h"
#include "device/providers/nvml/discovery.h"
#include "device/providers/nvml/nvml_api.h"
#include "device/providers/nvml/slice_loop.h"
#include "device/providers/nvml/slice_pages.h"

namespace tweendeck::device::nvml {

// Where a replica's sandbox shows the files of its slice.
inline constexpr std::string_view kSandboxFolder = "/run/tweendeck/sandbox/vgpu";

struct Options {
  std::string pages_dir;     // <state>/vgpu; pages are below <pages_dir>/<provider>/<slice>/
  std::string vgpu_library;  // path of libtweendeck-vgpu.so
  bool sandboxed = true;     // tenants see the files at kSandboxFolder; false: at their own paths
};

// A file or folder that the tenant needs. `variable` gets its path as the tenant sees it.
struct Shown {
  std::string variable;
  std::string source;
  std::string name;  // below kSandboxFolder
  bool read_only = true;
};

class NvmlProvider : public Provider {
 public:
  std::string_view name() const override { return identity_.provider; }
  Result<std::vector<Device>> discover() override;
  Result<Preparation> prepare(const Slice& slice) override;
  Status unprepare(std::string_view slice_id) override;
  Result<SliceUsage> usage(std::string_view slice_id) override;
  Result<std::vector<std::string>> prepared() override;
  std::vector<Finding> findings() const override;

 protected:
  NvmlProvider(Identity identity, Options options, std::vector<Shown> extra)
      : identity_(std::move(identity)),
        options_(std::move(options)),
        extra_(std::move(extra)),
        pages_(options_.pages_dir + "/" + identity_.provider) {}

  // Loads the library; called again at the next use when it failed.
  virtual Result<std::unique_ptr<Api>> load() = 0;

 private:
  Result<const Api*> api();
  bool library_present() const;
  Result<Device> find(const std::string& device_id);
  void show(const Shown& shown, Preparation& into) const;
  // Processes of the slice: what its page claims and what the driver lists, each verified.
  std::vector<Process> slice_processes(std::string_view slice_id, const std::vector<uint32_t>& claimed);

  Identity identity_;
  Options options_;
  std::vector<Shown> extra_;
  SlicePages pages_;
  std::map<std::string, std::array<uint64_t, TW_VGPU_KINDS>> peaks_;  // memory by kind, as seen by usage()
  std::unique_ptr<Api> api_;
  std::unique_ptr<XidWatch> xids_;             // uses api_
  std::unique_ptr<SliceLoop> loop_;            // uses api_; a thread
  std::atomic<SliceLoop*> watching_{nullptr};  // loop_, for other threads
};

}  // namespace tweendeck::device::nvml
