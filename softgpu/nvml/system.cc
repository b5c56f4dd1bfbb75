// Library, system and device lookup.
#include <cstdio>
#include <cstring>

#include "softgpu/nvml/api.h"
#include "softgpu/nvml/state.h"

using namespace tweendeck::softgpu;

namespace {

nvmlReturn write_text(char* out, unsigned length, const char* text) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (strlen(text) + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
  strcpy(out, text);
  return NVML_SUCCESS;
}

}  // namespace

nvmlReturn nvmlInit_v2() {
  return nvml::init();
}
nvmlReturn nvmlInitWithFlags(unsigned) {
  return nvml::init();
}
nvmlReturn nvmlShutdown() {
  return nvml::shutdown();
}

const char* nvmlErrorString(nvmlReturn error) {
  switch (error) {
    case NVML_SUCCESS:
      return "Success";
    case NVML_ERROR_UNINITIALIZED:
      return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT:
      return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED:
      return "Not Supported";
    case NVML_ERROR_NOT_FOUND:
      return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE:
      return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "Driver Not Loaded";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
      return "Argument Version Mismatch";
  }
  return "Unknown Error";
}

nvmlReturn nvmlSystemGetDriverVersion(char* out, unsigned length) {
  TW_NVML(model);
  return write_text(out, length, nvml::kDriverVersionText);
}

nvmlReturn nvmlSystemGetNVMLVersion(char* out, unsigned length) {
  TW_NVML(model);
  return write_text(out, length, "13.580.00-softgpu");
}

nvmlReturn nvmlSystemGetCudaDriverVersion(int* version) {
  TW_NVML(model);
  if (version == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *version = nvml::kCudaDriverVersion;
  return NVML_SUCCESS;
}
nvmlReturn nvmlSystemGetCudaDriverVersion_v2(int* version) {
  return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn nvmlSystemGetProcessName(unsigned pid, char* out, unsigned length) {
  TW_NVML(model);
  if (out == nullptr || length == 0) return NVML_ERROR_INVALID_ARGUMENT;
  FILE* file = fopen(("/proc/" + std::to_string(pid) + "/comm").c_str(), "re");
  if (file == nullptr) return NVML_ERROR_NOT_FOUND;
  const bool read = fgets(out, static_cast<int>(length), file) != nullptr;
  fclose(file);
  if (!read) return NVML_ERROR_NOT_FOUND;
  out[strcspn(out, "\n")] = 0;
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetCount_v2(unsigned* count) {
  TW_NVML(model);
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *count = model->card_count();
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice* device) {
  TW_NVML(model);
  if (device == nullptr || index >= model->card_count()) return NVML_ERROR_INVALID_ARGUMENT;
  *device = nvml::handle_of(index);
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice* device) {
  TW_NVML(model);
  if (uuid == nullptr || device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  for (uint32_t card = 0; card < model->card_count(); ++card) {
    if (uuid_text(model->info(card)) == uuid) return nvmlDeviceGetHandleByIndex_v2(card, device);
  }
  return NVML_ERROR_NOT_FOUND;
}

nvmlReturn nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, nvmlDevice* device) {
  TW_NVML(model);
  if (bus_id == nullptr || device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  for (uint32_t card = 0; card < model->card_count(); ++card) {
    const std::string own = pci_bus_id(model->info(card));
    // The domain may be given with eight digits or with four.
    if (strcasecmp(own.c_str(), bus_id) == 0 || strcasecmp(own.c_str() + 4, bus_id) == 0) {
      return nvmlDeviceGetHandleByIndex_v2(card, device);
    }
  }
  return NVML_ERROR_NOT_FOUND;
}

nvmlReturn nvmlDeviceGetIndex(nvmlDevice device, unsigned* index) {
  TW_NVML_CARD(model, device, card);
  if (index == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *index = card;
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetName(nvmlDevice device, char* out, unsigned length) {
  TW_NVML_CARD(model, device, card);
  return write_text(out, length, model->info(card).name);
}

nvmlReturn nvmlDeviceGetUUID(nvmlDevice device, char* out, unsigned length) {
  TW_NVML_CARD(model, device, card);
  return write_text(out, length, uuid_text(model->info(card)).c_str());
}

nvmlReturn nvmlDeviceGetPciInfo_v3(nvmlDevice device, nvmlPciInfo* out) {
  TW_NVML_CARD(model, device, card);
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  const CardInfo& info = model->info(card);
  *out = {};
  const std::string bus_id = pci_bus_id(info);
  snprintf(out->bus_id, sizeof out->bus_id, "%s", bus_id.c_str());
  snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%s", bus_id.c_str() + 4);
  out->domain = info.pci_domain;
  out->bus = info.pci_bus;
  out->pci_device_id = info.pci_device_id;
  return NVML_SUCCESS;
}
