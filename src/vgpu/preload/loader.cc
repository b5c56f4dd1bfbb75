#include "vgpu/preload/loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"

// Programs of older distributions must be able to load this library, so the oldest versions of these are
// bound.
#if defined(__x86_64__)
#define TW_BASE_VERSION "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define TW_BASE_VERSION "GLIBC_2.17"
#endif
__asm__(".symver dlvsym,dlvsym@" TW_BASE_VERSION);
__asm__(".symver dlopen,dlopen@" TW_BASE_VERSION);
// musl has none of this; weak, so that its programs are told and not left with a failed relocation.
extern "C" void* dlvsym(void* __restrict, const char* __restrict, const char* __restrict) noexcept
    __attribute__((weak));

namespace tweendeck::vgpu {
namespace {

using Dlsym = void*(void*, const char*);

Dlsym* g_dlsym;
void* g_library[2];
constexpr int kBeforeOthers = 101;
constexpr const char* kNames[2] = {"libcuda.so.1", "libnvidia-ml.so.1"};

// The driver itself is made for glibc, so a program of musl cannot use a GPU; it must not run as if it could.
void refuse_musl() {
  constexpr int kCannotExecute = 127;
  constexpr char kWhy[] =
      "tweendeck-vgpu: this program uses the C library musl (Alpine?); a GPU slice runs programs of glibc "
      "only\n";
  if (write(STDERR_FILENO, kWhy, sizeof(kWhy) - 1) < 0) _exit(kCannotExecute);
  _exit(kCannotExecute);
}

__attribute__((constructor(kBeforeOthers))) void check_c_library() {
  if (!dlvsym) refuse_musl();
}

Dlsym* real_dlsym() {
  if (!dlvsym) refuse_musl();
  Dlsym* found = __atomic_load_n(&g_dlsym, __ATOMIC_ACQUIRE);
  if (found) return found;
  void* address = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
  if (!address) address = dlvsym(RTLD_NEXT, "dlsym", TW_BASE_VERSION);
  found = reinterpret_cast<Dlsym*>(address);
  __atomic_store_n(&g_dlsym, found, __ATOMIC_RELEASE);
  return found;
}

bool may_be_ours(const char* name) {
  return (name[0] == 'c' && name[1] == 'u') ||
         (name[0] == 'n' && name[1] == 'v' && name[2] == 'm' && name[3] == 'l');
}

}  // namespace

void* library_symbol(Library library, const char* symbol) {
  void*& slot = g_library[static_cast<int>(library)];
  void* handle = __atomic_load_n(&slot, __ATOMIC_ACQUIRE);
  if (!handle) {
    handle = dlopen(kNames[static_cast<int>(library)], RTLD_LAZY | RTLD_LOCAL);
    __atomic_store_n(&slot, handle, __ATOMIC_RELEASE);
  }
  return handle ? real_dlsym()(handle, symbol) : nullptr;
}

}  // namespace tweendeck::vgpu

// The driver's calls are found by name in many programs. Ours is handed out where the real lookup succeeds.
// All else is a jump, so that RTLD_NEXT keeps meaning "after the caller".
TW_EXPORT void* dlsym(void* __restrict handle, const char* __restrict name) noexcept {
  using namespace tweendeck::vgpu;
  if (may_be_ours(name)) {
    const Call call = find_symbol(name);
    if (call < kCalls) return real_dlsym()(handle, name) ? kCallInfo[call].ours : nullptr;
    if (call == kUnknown && name[0] == 'c') count_unclassified();
  }
  TW_TAIL_CALL return real_dlsym()(handle, name);
}
