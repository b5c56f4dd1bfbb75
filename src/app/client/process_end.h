// Whether a process has ended, from /proc; one that nobody has reaped yet has.
#pragma once

#include <cstdint>

namespace tweendeck::client {

bool process_ended(int64_t pid);

}  // namespace tweendeck::client
