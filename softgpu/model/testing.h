// A device-model file for one test: made in a temporary place, removed afterwards.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>

#include "softgpu/host.h"
#include "softgpu/model/model.h"

namespace tweendeck::softgpu::testing {

class CardFile {
 public:
  explicit CardFile(HostOptions options) {
    static std::atomic<int> count{0};
    path_ =
        ::testing::TempDir() + "tw-softgpu-test-" + std::to_string(getpid()) + "-" + std::to_string(count++);
    auto made = create_cards(path_, options);
    if (!made) ADD_FAILURE() << made.error();
  }
  ~CardFile() { unlink(path_.c_str()); }
  CardFile(const CardFile&) = delete;
  CardFile& operator=(const CardFile&) = delete;

  const std::string& path() const { return path_; }
  std::unique_ptr<Model> open() const {
    auto model = Model::open(path_);
    if (!model) {
      ADD_FAILURE() << model.error();
      return nullptr;
    }
    return std::move(*model);
  }

 private:
  std::string path_;
};

inline std::unique_ptr<Client> attach(Model& model, uint64_t rank = 0) {
  auto client = model.attach({.name = "test", .rank = rank});
  if (!client) {
    ADD_FAILURE() << client.error();
    return nullptr;
  }
  return std::move(*client);
}

inline constexpr uint64_t kMs = 1'000'000;

}  // namespace tweendeck::softgpu::testing
