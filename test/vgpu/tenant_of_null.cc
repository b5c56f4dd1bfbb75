#include "tenant_of_null.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

namespace tweendeck::vgpu::test {
namespace {

constexpr const char* kFolder = "TWEENDECK_TEST_SLICE";

[[noreturn]] void stop(const char* what) {
  std::perror(what);
  std::exit(2);
}

template <class Page>
void write_page(const std::string& path, const Page& page) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0 || write(file, &page, sizeof(page)) != static_cast<ssize_t>(sizeof(page))) stop(path.c_str());
  close(file);
}

void write_pages(const std::string& folder, uint64_t limit_bytes) {
  auto limits = std::make_unique<tw_vgpu_limits_page>();
  auto usage = std::make_unique<tw_vgpu_usage_page>();
  tw_vgpu_init_pages(limits.get(), usage.get(), 1);
  limits->sets[0].device_count = 1;
  std::memset(limits->sets[0].devices[0].uuid, 0x11, 16);  // the null driver's
  limits->sets[0].devices[0].memory_bytes = limit_bytes;
  write_page(folder + "/limits", *limits);
  write_page(folder + "/usage", *usage);
}

}  // namespace

void become_tenant(char** argv, uint64_t limit_bytes) {
  if (getenv(kFolder)) return;
  char folder[] = "/tmp/tw-slice-XXXXXX";
  if (!mkdtemp(folder)) stop(folder);
  write_pages(folder, limit_bytes);
  setenv(kFolder, folder, 1);
  setenv(TW_VGPU_ENV_LIMITS, (std::string(folder) + "/limits").c_str(), 1);
  setenv(TW_VGPU_ENV_USAGE, (std::string(folder) + "/usage").c_str(), 1);
  setenv("LD_PRELOAD", TW_VGPU_LIBRARY, 1);
  execv("/proc/self/exe", argv);
  stop("exec");
}

void set_memory_wait(uint32_t device_ms) {
  static tw_vgpu_limits_page* const page = [] {
    const int file = open(getenv(TW_VGPU_ENV_LIMITS), O_RDWR | O_CLOEXEC);
    void* memory = mmap(nullptr, sizeof(tw_vgpu_limits_page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) stop("limits page");
    close(file);
    return static_cast<tw_vgpu_limits_page*>(memory);
  }();
  tw_vgpu_limit_set set = page->sets[page->generation & 1];
  set.devices[0].memory_wait_ms = device_ms;
  tw_vgpu_publish_limits(page, &set);
}

tw_vgpu_usage_page* usage_page() {
  static tw_vgpu_usage_page* const page = [] {
    const int file = open(getenv(TW_VGPU_ENV_USAGE), O_RDWR | O_CLOEXEC);
    void* memory = mmap(nullptr, sizeof(tw_vgpu_usage_page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) stop("usage page");
    close(file);
    static const struct Folder {
      ~Folder() {
        if (getpid() == owner) std::filesystem::remove_all(getenv(kFolder));
      }
      pid_t owner = getpid();
    } folder;
    return static_cast<tw_vgpu_usage_page*>(memory);
  }();
  return page;
}

}  // namespace tweendeck::vgpu::test
