// The node's side of a slice for the GPU suite: makes its two pages, changes its limits, reads its books.
//
//   gpu_pages make DIR UUID MEMORY FLOOR CEILING     UUID: 32 hex digits; shares in permille; 0 = not limited
//   gpu_pages set LIMITS MEMORY FLOOR CEILING [paused]
//   gpu_pages pauses LIMITS ROUNDS ON_MS OFF_MS      one line per round: when it paused and when it resumed
//   gpu_pages resizes LIMITS ROUNDS BYTES BYTES GAP_MS   the memory limit takes turns; one line per change
//   gpu_pages usage USAGE                            what the slice holds and did
//
// JSON objects on stdout, one per line; times are CLOCK_MONOTONIC nanoseconds.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "vgpu/page.h"

namespace {

constexpr int kReadTries = 100;

[[noreturn]] void stop(const char* what, const std::string& about) {
  std::fprintf(stderr, "gpu_pages: %s%s\n", what, about.c_str());
  std::exit(1);
}

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void sleep_ms(double ms) {
  const auto ns = static_cast<long>(ms * 1e6);
  timespec wait{ns / 1'000'000'000, ns % 1'000'000'000};
  nanosleep(&wait, nullptr);
}

template <class Page>
void write_page(const std::string& path, const Page& page) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, &page, sizeof(page)) != static_cast<ssize_t>(sizeof(page)))
    stop("cannot write ", path);
  close(fd);
}

template <class Page>
Page* map_page(const std::string& path, bool writable) {
  const int fd = open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  struct stat file{};
  if (fd < 0 || fstat(fd, &file) != 0 || file.st_size < static_cast<off_t>(sizeof(Page)))
    stop("no page in ", path);
  void* at = mmap(nullptr, sizeof(Page), writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) stop("cannot map ", path);
  close(fd);
  return static_cast<Page*>(at);
}

uint64_t number(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 10);
}

void fill_limit(tw_vgpu_device_limit& limit, const std::string* words) {
  limit.memory_bytes = number(words[0]);
  limit.compute_floor_permille = static_cast<uint32_t>(number(words[1]));
  limit.compute_ceiling_permille = static_cast<uint32_t>(number(words[2]));
  limit.weight = 1;
}

void make(const std::vector<std::string>& args) {
  if (args[2].size() != 32) stop("not 32 hex digits: ", args[2]);
  auto limits = std::make_unique<tw_vgpu_limits_page>();
  auto usage = std::make_unique<tw_vgpu_usage_page>();
  tw_vgpu_init_pages(limits.get(), usage.get(), (static_cast<uint64_t>(std::random_device()()) << 32 | 1));
  limits->sets[0].device_count = 1;
  tw_vgpu_device_limit& device = limits->sets[0].devices[0];
  for (size_t i = 0; i < sizeof(device.uuid); ++i)
    device.uuid[i] = static_cast<uint8_t>(std::stoul(args[2].substr(2 * i, 2), nullptr, 16));
  fill_limit(device, &args[3]);
  mkdir(args[1].c_str(), 0700);
  write_page(args[1] + "/limits", *limits);
  write_page(args[1] + "/usage", *usage);
}

// The page's writer: changes the set in force and publishes it; returns when that was.
class Writer {
 public:
  explicit Writer(const std::string& path) : page_(map_page<tw_vgpu_limits_page>(path, true)) {
    uint64_t generation = 0;
    if (!tw_vgpu_read_limits(page_, &set_, &generation, kReadTries)) stop("the page keeps changing: ", path);
  }
  tw_vgpu_device_limit& device() { return set_.devices[0]; }
  unsigned long long publish() {
    tw_vgpu_publish_limits(page_, &set_);
    return now_ns();
  }

 private:
  tw_vgpu_limits_page* page_;
  tw_vgpu_limit_set set_{};
};

void set(const std::vector<std::string>& args) {
  Writer writer(args[1]);
  fill_limit(writer.device(), &args[2]);
  writer.device().flags = args.size() == 6 ? TW_VGPU_FLAG_PAUSED : 0;
  std::printf("{\"at_ns\": %llu}\n", writer.publish());
}

void pauses(const std::vector<std::string>& args) {
  Writer writer(args[1]);
  for (uint64_t round = 0; round < number(args[2]); ++round) {
    sleep_ms(std::atof(args[3].c_str()));
    writer.device().flags = TW_VGPU_FLAG_PAUSED;
    const unsigned long long paused = writer.publish();
    sleep_ms(std::atof(args[4].c_str()));
    writer.device().flags = 0;
    // Taken before: the first launch may come before publish() has returned.
    const unsigned long long resumed = now_ns();
    writer.publish();
    std::printf("{\"paused_ns\": %llu, \"resumed_ns\": %llu}\n", paused, resumed);
  }
}

void resizes(const std::vector<std::string>& args) {
  Writer writer(args[1]);
  for (uint64_t round = 0; round < number(args[2]); ++round) {
    writer.device().memory_bytes = number(args[3 + round % 2]);
    const unsigned long long before = now_ns();
    writer.publish();
    std::printf("{\"at_ns\": %llu, \"total_bytes\": %llu}\n", before,
                static_cast<unsigned long long>(writer.device().memory_bytes));
    sleep_ms(std::atof(args[5].c_str()));
  }
}

uint64_t held(const tw_vgpu_usage_page* page) {
  uint64_t used = 0;
  tw_vgpu_memory_claimed(page, 0, &used);
  return used;
}

void usage(const std::vector<std::string>& args) {
  const auto* page = map_page<tw_vgpu_usage_page>(args[1], false);
  const tw_vgpu_device_usage& device = page->devices[0];
  uint64_t kinds[TW_VGPU_KINDS] = {};
  for (uint32_t slot = 0; slot < tw_vgpu_slot_bound(page); ++slot) {
    if (tw_vgpu_load(&page->slots[slot].owner) == 0) continue;
    for (int kind = 0; kind < TW_VGPU_KINDS; ++kind)
      kinds[kind] += tw_vgpu_load(&page->books[0][slot].by_kind[kind]);
  }
  const auto show = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "{\"used_bytes\": %llu, \"peak_bytes\": %llu, \"context_bytes\": %llu, \"module_bytes\": %llu, "
      "\"launches\": %llu, \"charged_ns\": %llu, \"throttled_ns\": %llu, \"borrowed_ns\": %llu, "
      "\"refused_limit\": %llu, \"refused_contended\": %llu, \"unclassified\": %llu}\n",
      show(held(page)), show(device.memory_peak_bytes), show(kinds[TW_VGPU_KIND_CONTEXT]),
      show(kinds[TW_VGPU_KIND_MODULE]), show(device.launches), show(device.charged_ns),
      show(device.throttled_ns), show(device.borrowed_ns), show(device.refused[TW_VGPU_REFUSED_LIMIT]),
      show(device.refused[TW_VGPU_REFUSED_CONTENDED]), show(page->unclassified_symbols));
}

struct Command {
  const char* name;
  size_t least, most;  // words with the name
  void (*run)(const std::vector<std::string>&);
};
constexpr Command kCommands[] = {{"make", 6, 6, make},
                                 {"set", 5, 6, set},
                                 {"pauses", 5, 5, pauses},
                                 {"resizes", 6, 6, resizes},
                                 {"usage", 2, 2, usage}};

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> args(words + 1, words + count);
  for (const Command& command : kCommands) {
    if (args.empty() || args[0] != command.name) continue;
    if (args.size() < command.least || args.size() > command.most) break;
    command.run(args);
    return 0;
  }
  stop("usage: see the head of main.cc", "");
}
