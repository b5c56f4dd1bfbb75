// Touching files that somebody else may cut short at any time: a mapped page whose file was truncated raises
// SIGBUS.
//
//   if (!guarded([&] { owner = tw_vgpu_load(&page->slots[i].owner); })) ...   // the file is shorter than its
//   mapping
//
// `work` must not own anything that a jump out of it would leak: loads, stores and plain values only. The
// handler is put in at the first use and passes on every SIGBUS that is not ours. Safe from any thread;
// nesting is not.
#pragma once

#include <memory>
#include <type_traits>

namespace tweendeck::device::nvml {

bool run_guarded(void (*work)(void*), void* argument);

template <class Work>
bool guarded(Work&& work) {
  return run_guarded([](void* argument) { (*static_cast<std::remove_reference_t<Work>*>(argument))(); },
                     const_cast<void*>(static_cast<const void*>(std::addressof(work))));
}

}  // namespace tweendeck::device::nvml
