#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "driver.h"
#include "modes.h"
#include "paths.h"

namespace probe {
namespace {

constexpr uint64_t kLargestPiece = 64ull << 20;
constexpr int kMostPieces = 4096;
// A limit that does not hold must not cost the whole card: nothing is asked for beyond this above what is shown.
constexpr uint64_t kMostAbove = 1ull << 30;
constexpr uint64_t kRaceStep = 2ull << 20;  // drivers round up to it
constexpr uint64_t kRaceSteps = 8;
constexpr size_t kHandleBytes = 64;
constexpr unsigned kLazyPeer = 1;

struct Info {
  size_t free_bytes = 0, total_bytes = 0;
};

Info memory_info() {
  Info info;
  must<size_t*, size_t*>("cuMemGetInfo_v2", &info.free_bytes, &info.total_bytes);
  return info;
}

void wait_for_line() {
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {
  }
}

// Takes pieces, halving them when one is refused, until the finest is.
uint64_t take_all(Path& path, uint64_t most, int& last_code) {
  uint64_t granted = 0;
  int pieces = 0;
  for (uint64_t piece = kLargestPiece; piece >= path.finest(); piece /= 2) {
    while (pieces < kMostPieces && granted <= most && (last_code = path.take(piece)) == kSuccess) {
      granted += piece;
      ++pieces;
    }
    if (last_code != kOutOfMemory) break;
  }
  return granted;
}

struct IpcHandle {
  unsigned char bytes[kHandleBytes];
};

}  // namespace

int info() {
  char name[256] = "";
  int driver = 0;
  must<char*, int, int>("cuDeviceGetName", name, sizeof(name), 0);
  must<int*>("cuDriverGetVersion", &driver);
  const Info memory = memory_info();
  std::printf(
      "{\"name\": \"%s\", \"sms\": %d, \"capability\": \"%d%d\", \"driver\": %d, \"free_bytes\": %zu, "
      "\"total_bytes\": %zu}\n",
      name, attribute(16), attribute(75), attribute(76), driver, memory.free_bytes, memory.total_bytes);
  return 0;
}

int fill(const std::string& name) {
  const std::unique_ptr<Path> path = make_path(name);
  const Info before = memory_info();
  int code = 0, again = 0;
  const uint64_t most = std::min<uint64_t>(before.total_bytes, before.free_bytes + kMostAbove);
  const uint64_t granted = take_all(*path, most, code);
  const Info full = memory_info();
  std::printf(
      "{\"granted_bytes\": %llu, \"refused_with\": %d, \"finest_bytes\": %llu, \"total_bytes\": %zu, "
      "\"free_before\": %zu, \"free_full\": %zu}\n",
      static_cast<unsigned long long>(granted), code, static_cast<unsigned long long>(path->slack()),
      before.total_bytes, before.free_bytes, full.free_bytes);
  wait_for_line();
  path->release_all();
  const Info after = memory_info();
  const uint64_t second = take_all(*path, most, again);
  path->release_all();
  std::printf("{\"free_after\": %zu, \"granted_again\": %llu}\n", after.free_bytes,
              static_cast<unsigned long long>(second));
  return 0;
}

int race(double seconds, unsigned seed) {
  // A racer must not take the room that another needs for its context.
  std::printf("{\"ready\": true}\n");
  wait_for_line();
  std::minstd_rand random(seed);
  std::vector<std::pair<uint64_t, uint64_t>> live;
  uint64_t granted = 0, refused = 0, held = 0, most = 0;
  const uint64_t end = now_ns() + static_cast<uint64_t>(seconds * 1e9);
  while (now_ns() < end) {
    const bool take = live.empty() || random() % 8 < 5;  // drifts to the limit and stays there
    if (take) {
      const uint64_t bytes = (1 + random() % kRaceSteps) * kRaceStep;
      uint64_t address = 0;
      const int code = call<uint64_t*, size_t>("cuMemAlloc_v2", &address, bytes);
      if (code != kSuccess && code != kOutOfMemory) check("cuMemAlloc", code);
      ++(code == kSuccess ? granted : refused);
      if (code != kSuccess) continue;
      live.emplace_back(address, bytes);
      most = std::max(most, held += bytes);
    } else {
      std::swap(live[random() % live.size()], live.back());
      must<uint64_t>("cuMemFree_v2", live.back().first);
      held -= live.back().second;
      live.pop_back();
    }
  }
  std::printf("{\"granted\": %llu, \"refused\": %llu, \"held_bytes\": %llu, \"most_bytes\": %llu}\n",
              static_cast<unsigned long long>(granted), static_cast<unsigned long long>(refused),
              static_cast<unsigned long long>(held), static_cast<unsigned long long>(most));
  wait_for_line();
  return 0;
}

int ipc_export(uint64_t bytes) {
  uint64_t address = 0;
  IpcHandle handle{};
  must<uint64_t*, size_t>("cuMemAlloc_v2", &address, bytes);
  must<IpcHandle*, uint64_t>("cuIpcGetMemHandle", &handle, address);
  std::printf("{\"handle\": \"");
  for (const unsigned char byte : handle.bytes) std::printf("%02x", byte);
  std::printf("\"}\n");
  wait_for_line();
  return 0;
}

int ipc_import(const std::string& text) {
  if (text.size() != 2 * kHandleBytes) stop(kUsage, "not a handle: ", text.c_str());
  IpcHandle handle{};
  for (size_t i = 0; i < kHandleBytes; ++i)
    handle.bytes[i] = static_cast<unsigned char>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
  const Info before = memory_info();
  uint64_t address = 0;
  must<uint64_t*, IpcHandle, unsigned>("cuIpcOpenMemHandle_v2", &address, handle, kLazyPeer);
  const Info with = memory_info();
  must<uint64_t>("cuIpcCloseMemHandle", address);
  std::printf("{\"free_before\": %zu, \"free_with\": %zu}\n", before.free_bytes, with.free_bytes);
  return 0;
}

int follow(double seconds) {
  const uint64_t end = now_ns() + static_cast<uint64_t>(seconds * 1e9);
  size_t last = 0;
  while (now_ns() < end) {
    const size_t total = memory_info().total_bytes;
    if (total == last) continue;
    last = total;
    std::printf("{\"at_ns\": %llu, \"total_bytes\": %zu}\n", static_cast<unsigned long long>(now_ns()),
                total);
    std::fflush(stdout);
  }
  return 0;
}

int hold() {
  std::printf("{\"ready\": true}\n");
  wait_for_line();
  return 0;
}

}  // namespace probe
