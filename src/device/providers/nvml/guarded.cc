#include "device/providers/nvml/guarded.h"

#include <setjmp.h>
#include <signal.h>

#include <mutex>

namespace tweendeck::device::nvml {
namespace {

thread_local sigjmp_buf* way_out = nullptr;
struct sigaction before;

void on_bus_error(int number, siginfo_t* info, void* context) {
  if (way_out != nullptr) siglongjmp(*way_out, 1);
  if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction != nullptr)
    return before.sa_sigaction(number, info, context);
  // The default action follows when the instruction runs again.
  sigaction(SIGBUS, &before, nullptr);
}

void put_in_handler() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGBUS, &action, &before);
}

}  // namespace

bool run_guarded(void (*work)(void*), void* argument) {
  static std::once_flag once;
  std::call_once(once, put_in_handler);
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    way_out = nullptr;
    return false;
  }
  way_out = &here;
  work(argument);
  way_out = nullptr;
  return true;
}

}  // namespace tweendeck::device::nvml
