// The driver's own functions inside a process whose look-ups a preloaded library answers: read from the
// symbol table of the mapped libcuda.so.1 itself.
#pragma once

namespace probe {

// Null when no libcuda.so.1 is mapped or it has no such function.
void* bare_function(const char* name);

}  // namespace probe
