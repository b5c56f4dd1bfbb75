#include "bare.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace probe {
namespace {

struct Search {
  const char* name;
  void* found = nullptr;
};

// glibc has made the addresses of the dynamic section absolute already.
const ElfW(Dyn) * entry(const ElfW(Dyn) * dynamic, ElfW(Sxword) tag) {
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    if (dynamic->d_tag == tag) return dynamic;
  }
  return nullptr;
}

// Symbols in the table, by its hash table: the last chain's end.
uint32_t symbol_count(const ElfW(Dyn) * dynamic) {
  if (const auto* hash = entry(dynamic, DT_HASH))
    return reinterpret_cast<const uint32_t*>(hash->d_un.d_ptr)[1];
  const auto* gnu = entry(dynamic, DT_GNU_HASH);
  if (gnu == nullptr) return 0;
  const auto* head = reinterpret_cast<const uint32_t*>(gnu->d_un.d_ptr);
  const uint32_t buckets = head[0], first = head[1], bloom = head[2];
  const uint32_t* bucket = head + 4 + bloom * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
  const uint32_t* chain = bucket + buckets;
  uint32_t last = *std::max_element(bucket, bucket + buckets);
  if (last < first) return first;
  while ((chain[last - first] & 1) == 0) ++last;
  return last + 1;
}

int look(dl_phdr_info* object, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  const char* base = std::strrchr(object->dlpi_name, '/');
  if (std::strncmp(base != nullptr ? base + 1 : object->dlpi_name, "libcuda.so", 10) != 0) return 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    if (object->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* dynamic =
        reinterpret_cast<const ElfW(Dyn)*>(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
    const auto* symbols = entry(dynamic, DT_SYMTAB);
    const auto* strings = entry(dynamic, DT_STRTAB);
    if (symbols == nullptr || strings == nullptr) return 0;
    const auto* table = reinterpret_cast<const ElfW(Sym)*>(symbols->d_un.d_ptr);
    const auto* text = reinterpret_cast<const char*>(strings->d_un.d_ptr);
    for (uint32_t s = 0, count = symbol_count(dynamic); s < count; ++s) {
      if (table[s].st_shndx == SHN_UNDEF || std::strcmp(text + table[s].st_name, search->name) != 0) continue;
      search->found = reinterpret_cast<void*>(object->dlpi_addr + table[s].st_value);
      return 1;
    }
  }
  return 0;
}

}  // namespace

void* bare_function(const char* name) {
  Search search{name};
  dl_iterate_phdr(look, &search);
  return search.found;
}

}  // namespace probe
