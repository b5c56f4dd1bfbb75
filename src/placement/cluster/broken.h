// For a caller that breaks the contract of the book in a way that would book something twice.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace tweendeck::placement {

[[noreturn]] inline void broken(const char* what) {
  std::fprintf(stderr, "placement: %s; stopping rather than booking twice\n", what);
  std::abort();
}

}  // namespace tweendeck::placement
