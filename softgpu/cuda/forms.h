// A call in its two forms: its default stream is the legacy one or (suffix _ptds or _ptsz) the thread's own.
// `kPerThread` says which in the body.
#pragma once

#define TW_TWO_FORMS(name, suffix, parameters, ...)     \
  CUresult name parameters {                            \
    [[maybe_unused]] constexpr bool kPerThread = false; \
    return __VA_ARGS__;                                 \
  }                                                     \
  CUresult name##suffix parameters {                    \
    [[maybe_unused]] constexpr bool kPerThread = true;  \
    return __VA_ARGS__;                                 \
  }
