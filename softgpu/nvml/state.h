// What the NVML stand-in knows in one process: the device model, opened by the first init and kept until the
// last shutdown. It only observes: it attaches no client and never holds up virtual time. Safe from any
// thread.
#pragma once

#include <memory>

#include "softgpu/model/cards.h"
#include "softgpu/model/model.h"
#include "softgpu/nvml/abi.h"

namespace tweendeck::softgpu::nvml {

inline constexpr char kStatePathVariable[] = "TWEENDECK_SOFTGPU_STATE";
// "none": process lists are empty, as a real NVML's are in a container that has process ids of its own.
inline constexpr char kPidsVariable[] = "TWEENDECK_SOFTGPU_NVML_PIDS";
inline constexpr char kDriverVersionText[] = "580.00-softgpu";
inline constexpr int kCudaDriverVersion = 13000;

nvmlReturn init();
nvmlReturn shutdown();
std::shared_ptr<Model> model();  // nullptr before init
bool shows_processes();

// A device handle is the address of a card's slot in this table, so that a wrong handle is found out.
nvmlDevice handle_of(uint32_t card);
bool card_of(nvmlDevice handle, const Model& model, uint32_t& card);

}  // namespace tweendeck::softgpu::nvml

// NOLINTBEGIN(bugprone-macro-parentheses): the arguments are names to declare
// Every query of a device begins like this.
#define TW_NVML(model)                                    \
  const auto model = ::tweendeck::softgpu::nvml::model(); \
  if (model == nullptr) return NVML_ERROR_UNINITIALIZED
#define TW_NVML_CARD(model, handle, card) \
  TW_NVML(model);                         \
  uint32_t card = 0;                      \
  if (!::tweendeck::softgpu::nvml::card_of(handle, *model, card)) return NVML_ERROR_INVALID_ARGUMENT
// NOLINTEND(bugprone-macro-parentheses)
