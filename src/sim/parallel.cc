#include "sim/parallel.h"

#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace tweendeck::sim {

Status in_parallel(unsigned threads, size_t count, const std::atomic<bool>* stop,
                   const std::function<Status(size_t)>& piece) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::optional<Error> first_error;
  auto work = [&] {
    for (size_t at = next++; at < count; at = next++) {
      Status done = stop != nullptr && *stop ? fail(Reason::Cancelled, "interrupted") : piece(at);
      if (done) continue;
      std::lock_guard lock(mutex);
      if (!first_error) first_error = done.error();
      next = count;
    }
  };
  {
    std::vector<std::jthread> others;
    for (unsigned extra = 1; extra < threads; ++extra) others.emplace_back(work);
    work();
  }
  if (first_error) return fail(*first_error);
  return {};
}

}  // namespace tweendeck::sim
