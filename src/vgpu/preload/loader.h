// The dynamic loader from below: our dlsym, and the way around it. Safe from any thread.
#pragma once

namespace tweendeck::vgpu {

enum class Library { Cuda, Nvml };

// The library's own symbol, never ours. The library is the one that is in the process already, or is loaded
// now.
void* library_symbol(Library library, const char* symbol);

}  // namespace tweendeck::vgpu
