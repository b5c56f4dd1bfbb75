#include "softgpu/cuda/driver.h"

#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "softgpu/cuda/array.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/pool.h"
#include "softgpu/model/cards.h"

namespace tweendeck::softgpu {
namespace {

std::mutex g_init_mutex;
std::atomic<Driver*> g_driver{nullptr};

// The child of a fork cannot use the driver, as with the real one.
void after_fork_in_child() {
  if (Driver* driver = g_driver.exchange(nullptr)) driver->client().abandon_after_fork();
}

void explain(const std::string& message) {
  static std::atomic<bool> said{false};
  if (!said.exchange(true)) fprintf(stderr, "softgpu: %s\n", message.c_str());
}

std::optional<uint64_t> environment_number(const char* name) {
  const char* text = getenv(name);
  if (text == nullptr) return std::nullopt;
  uint64_t value = 0;
  const std::string_view view = text;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size()) return std::nullopt;
  return value;
}

}  // namespace

CUresult Driver::init() {
  std::lock_guard guard(g_init_mutex);
  if (g_driver.load() != nullptr) return CUDA_SUCCESS;
  static bool fork_handled = false;
  if (!fork_handled) pthread_atfork(nullptr, nullptr, after_fork_in_child);
  fork_handled = true;
  auto* driver = new Driver;
  const CUresult result = driver->start();
  if (result != CUDA_SUCCESS) {
    delete driver;
    return result;
  }
  g_driver.store(driver);
  return CUDA_SUCCESS;
}

Driver* Driver::get() {
  return g_driver.load(std::memory_order_acquire);
}

CUresult Driver::start() {
  const char* path = getenv(kStatePathVariable);
  if (path == nullptr || *path == 0) {
    explain(std::string(kStatePathVariable) +
            " is not set; create cards with `tweendeck-softgpu create` and set it to "
            "their file");
    return CUDA_ERROR_NO_DEVICE;
  }
  auto model = Model::open(path);
  if (!model) {
    explain(model.error());
    return CUDA_ERROR_NO_DEVICE;
  }
  model_ = std::move(*model);
  select_devices();
  if (devices_.empty()) return CUDA_ERROR_NO_DEVICE;
  auto client = model_->attach({.name = "", .rank = environment_number(kRankVariable)});
  if (!client) {
    explain(client.error());
    return CUDA_ERROR_OPERATING_SYSTEM;
  }
  client_ = std::move(*client);
  return CUDA_SUCCESS;
}

// CUDA_VISIBLE_DEVICES: indexes and UUID prefixes; the list ends at the first that names no card.
void Driver::select_devices() {
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  std::vector<uint32_t> cards;
  if (visible == nullptr) {
    for (uint32_t card = 0; card < model_->card_count(); ++card) cards.push_back(card);
  } else {
    std::string_view rest = visible;
    while (!rest.empty()) {
      const std::string_view word = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), word.size() + 1));
      uint32_t card = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), card);
      bool found = error == std::errc() && end == word.data() + word.size() && card < model_->card_count();
      for (uint32_t i = 0; !found && word.starts_with("GPU-") && i < model_->card_count(); ++i) {
        if (uuid_text(model_->info(i)).starts_with(word)) {
          card = i;
          found = true;
        }
      }
      if (!found || std::ranges::find(cards, card) != cards.end()) break;
      cards.push_back(card);
    }
  }
  for (const uint32_t card : cards) devices_.emplace_back().card = card;
}

Device* Driver::device(int ordinal) {
  if (ordinal < 0 || ordinal >= device_count()) return nullptr;
  return &devices_[static_cast<size_t>(ordinal)];
}

DeviceMemory* Driver::memory_of(int ordinal) {
  Device& own = devices_[static_cast<size_t>(ordinal)];
  if (DeviceMemory* known = own.known.load(std::memory_order_acquire)) return known;
  std::lock_guard guard(mutex);
  if (own.memory == nullptr) own.memory = DeviceMemory::create(model_->info(own.card).memory_bytes);
  own.known.store(own.memory.get(), std::memory_order_release);
  return own.memory.get();
}

Context* Driver::create_context(int ordinal, unsigned flags, ContextKind kind, unsigned sms) {
  Device& device = devices_[static_cast<size_t>(ordinal)];
  const uint64_t charge = kind == ContextKind::Green ? 0 : kContextBytes;
  if (memory_of(ordinal) == nullptr || !client_->reserve(device.card, charge)) return nullptr;
  std::lock_guard guard(mutex);
  client_->add_context(device.card);
  Context& context = context_storage_.emplace_back();
  context.device = ordinal;
  context.flags = flags;
  context.primary = kind == ContextKind::Primary;
  context.charged = charge;
  context.sms = sms;
  context.id = next_id_++;
  context.legacy.context = &context;
  context.legacy.sms = sms;
  context.legacy.id = next_id_++;
  contexts_.insert(&context);
  return &context;
}

void Driver::destroy_context(Context* context) {
  Device& device = devices_[static_cast<size_t>(context->device)];
  synchronize(*context);
  for (Stream* stream : context->streams) leave_capture(*stream);
  {
    std::lock_guard guard(mutex);
    if (contexts_.erase(context) == 0) return;
    context->alive = false;
    for (Stream* stream : context->streams) {
      stream->alive = false;
      free_streams_.push_back(stream);
    }
    context->streams.clear();
  }
  while (!context->modules.empty()) unload_module(*context->modules.begin());
  close_imports(*context);
  destroy_arrays(*context);
  if (context->primary) empty_pools(context->device);
  for (const auto& range : device.memory->of_context(context)) {
    device.memory->free(range.address);
    client_->release(device.card, range.charged);
  }
  std::vector<CUdeviceptr> owned;
  {
    std::lock_guard guard(mutex);
    for (const auto& [address, memory] : managed) {
      if (memory.context == context) owned.push_back(address);
    }
  }
  for (const CUdeviceptr address : owned) free_managed(address);
  client_->release(device.card, context->charged);
  client_->remove_context(device.card);
}

bool Driver::is_context(const Context* context) {
  std::lock_guard guard(mutex);
  return contexts_.contains(const_cast<Context*>(context));
}

Stream* Driver::create_stream(Context* context, unsigned flags, int priority) {
  std::lock_guard guard(mutex);
  Stream* stream = nullptr;
  if (free_streams_.empty()) {
    stream = &stream_storage_.emplace_back();
  } else {
    stream = free_streams_.back();
    free_streams_.pop_back();
  }
  stream->context = context;
  stream->id = next_id_++;
  stream->flags = flags;
  stream->priority = std::clamp(priority, kHighestStreamPriority, kLowestStreamPriority);
  stream->blocking = (flags & kStreamNonBlocking) == 0;
  stream->last_ticket = 0;
  stream->joined_legacy = 0;
  stream->sms = context->sms;
  stream->not_before_ns = 0;
  stream->last_host_call = 0;
  stream->alive = true;
  context->streams.insert(stream);
  return stream;
}

void Driver::destroy_stream(Stream* stream) {
  leave_capture(*stream);
  std::lock_guard guard(mutex);
  if (!stream->alive.exchange(false)) return;
  stream->context->streams.erase(stream);
  free_streams_.push_back(stream);
}

Event* Driver::create_event(Context* context, unsigned flags) {
  std::lock_guard guard(mutex);
  Event* event = nullptr;
  if (free_events_.empty()) {
    event = &event_storage_.emplace_back();
  } else {
    event = free_events_.back();
    free_events_.pop_back();
  }
  event->context = context;
  event->flags = flags;
  event->recorded = false;
  event->capture_id = 0;
  event->alive = true;
  return event;
}

void Driver::destroy_event(Event* event) {
  std::lock_guard guard(mutex);
  if (event->alive.exchange(false)) free_events_.push_back(event);
}

Module* Driver::load_module(Context* context, CUresult& error) {
  if (context != nullptr) {
    const uint32_t card = devices_[static_cast<size_t>(context->device)].card;
    if (!client_->reserve(card, kModuleBytes)) {
      error = CUDA_ERROR_OUT_OF_MEMORY;
      return nullptr;
    }
  }
  auto* module = new Module;
  module->context = context;
  std::lock_guard guard(mutex);
  modules_.insert(module);
  if (context != nullptr) context->modules.insert(module);
  return module;
}

bool Driver::unload_module(Module* module) {
  {
    std::lock_guard guard(mutex);
    if (modules_.erase(module) == 0) return false;
    if (module->context != nullptr) module->context->modules.erase(module);
  }
  if (module->context != nullptr) {
    client_->release(devices_[static_cast<size_t>(module->context->device)].card, kModuleBytes);
  }
  delete module;
  return true;
}

Function* Driver::function(Module* module, const char* name) {
  {
    std::lock_guard guard(mutex);
    if (!modules_.contains(module)) return nullptr;
  }
  std::lock_guard guard(module->mutex);
  auto& slot = module->functions[name];
  if (slot == nullptr) {
    slot = std::make_unique<Function>();
    slot->name = name;
    slot->is_spin = slot->name == "tw_spin";
    slot->module = module;
  }
  return slot.get();
}

DeviceMemory* Driver::find_memory(CUdeviceptr address) {
  for (Device& device : devices_) {
    DeviceMemory* memory = device.known.load(std::memory_order_acquire);
    if (memory != nullptr && memory->contains(address)) return memory;
  }
  return nullptr;
}

char* Driver::translate(CUdeviceptr address, size_t bytes) {
  if (DeviceMemory* memory = find_memory(address)) return memory->host(address, bytes);
  std::lock_guard guard(mutex);
  const auto found = find_managed(address);
  if (found == managed.end() || bytes > found->first + found->second.bytes - address) return nullptr;
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return reinterpret_cast<char*>(address);
}

char* Driver::any_bytes(uint64_t address, size_t bytes) {
  if (find_memory(address) != nullptr) return translate(address, bytes);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): unified addressing: it is a host address
  return reinterpret_cast<char*>(address);
}

// At exit or dlclose: gives memory and queue back at once, where a peer would have to find out. The Driver
// itself stays, because other threads may still be in a call.
__attribute__((destructor)) void finalise() {
  if (Driver* driver = g_driver.exchange(nullptr)) driver->client().detach();
}

std::vector<Context*>& context_stack() {
  thread_local std::vector<Context*> stack;
  return stack;
}

Context* current_context() {
  const auto& stack = context_stack();
  return stack.empty() ? nullptr : stack.back();
}

}  // namespace tweendeck::softgpu
