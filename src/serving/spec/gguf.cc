// GGUF sanity check: enough to tell a damaged or foreign file before a model server is started on it. Layout
// (version 2 and 3, little endian): "GGUF", u32 version, u64 tensor count, u64 key-value count, then the
// key-values, the tensor infos, padding, and the tensor data.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "base/units.h"
#include "serving/spec/model_ref.h"

namespace tweendeck::serving {
namespace {

constexpr size_t kHeaderBytes = 24;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxKeyValues = 1 << 20;
constexpr uint64_t kMaxStringBytes = 64 << 20;
constexpr uint64_t kMaxArrayItems = 1 << 26;
constexpr uint64_t kDefaultAlignment = 32;
constexpr size_t kMaxHeadBytes =
    64 << 20;  // metadata and tensor infos; the largest vocabularies take about 20 MiB
constexpr uint32_t kMaxDims = 4;

enum ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

uint64_t scalar_bytes(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

// How a tensor type is stored: so many values in so many bytes. Types newer than this list have no entry; of
// them only the beginning is checked.
struct Block {
  uint64_t values = 0;
  uint64_t bytes = 0;
};

Block block_of(uint32_t type) {
  // In the order of ggml's type numbers: F32 F16 Q4_0 Q4_1, two retired, Q5_0 Q5_1 Q8_0 Q8_1, Q2_K to Q6_K
  // Q8_K, IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS, I8 I16 I32 I64 F64, IQ1_M, BF16.
  static constexpr Block kBlocks[] = {
      {1, 4},    {1, 2},    {32, 18},  {32, 20},   {},         {},         {32, 22},   {32, 24},
      {32, 34},  {32, 36},  {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {256, 292},
      {256, 66}, {256, 74}, {256, 98}, {256, 50},  {32, 18},   {256, 110}, {256, 82},  {256, 136},
      {1, 1},    {1, 2},    {1, 4},    {1, 8},     {1, 8},     {256, 56},  {1, 2}};
  return type < std::size(kBlocks) ? kBlocks[type] : Block{};
}

// Reads past the end fail for good, so that one check at the end is enough.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  size_t at() const { return at_; }

  template <class T>
  T number() {
    T value{};
    if (const std::string_view raw = take(sizeof(T)); ok_) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  std::string_view text() {
    const auto length = number<uint64_t>();
    if (length > kMaxStringBytes) ok_ = false;
    return ok_ ? take(length) : std::string_view();
  }
  std::string_view take(uint64_t length) {
    if (!ok_ || length > bytes_.size() - at_) {
      ok_ = false;
      return {};
    }
    const std::string_view part = bytes_.substr(at_, length);
    at_ += length;
    return part;
  }
  void fail() { ok_ = false; }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

void skip_array(Cursor& cursor) {
  const auto type = cursor.number<uint32_t>();
  const auto count = cursor.number<uint64_t>();
  if (count > kMaxArrayItems) return cursor.fail();
  if (type == kString) {
    for (uint64_t i = 0; i < count && cursor.ok(); ++i) cursor.text();
  } else if (const uint64_t bytes = scalar_bytes(type); bytes > 0) {
    cursor.take(bytes * count);
  } else {
    cursor.fail();  // arrays of arrays exist in no model
  }
}

void skip_key_value(Cursor& cursor, uint64_t& alignment) {
  const std::string_view key = cursor.text();
  const auto type = cursor.number<uint32_t>();
  if (key == "general.alignment" && type == kUint32) {
    alignment = cursor.number<uint32_t>();
  } else if (type == kString) {
    cursor.text();
  } else if (type == kArray) {
    skip_array(cursor);
  } else if (const uint64_t bytes = scalar_bytes(type); bytes > 0) {
    cursor.take(bytes);
  } else {
    cursor.fail();
  }
}

// Where the tensor ends within the data. Sums beyond 64 bits fail.
uint64_t read_tensor_info(Cursor& cursor) {
  cursor.text();
  const auto dims = cursor.number<uint32_t>();
  if (dims > kMaxDims) cursor.fail();
  uint64_t values = 1;
  for (uint32_t dim = 0; dim < dims && cursor.ok(); ++dim) {
    if (__builtin_mul_overflow(values, cursor.number<uint64_t>(), &values)) cursor.fail();
  }
  const Block block = block_of(cursor.number<uint32_t>());
  const auto offset = cursor.number<uint64_t>();
  uint64_t bytes = 1;
  if (block.values > 0) {
    const uint64_t blocks = values / block.values + (values % block.values == 0 ? 0 : 1);
    if (__builtin_mul_overflow(blocks, block.bytes, &bytes)) cursor.fail();
  }
  uint64_t end = 0;
  if (__builtin_add_overflow(offset, bytes, &end)) cursor.fail();
  return end;
}

std::unexpected<Error> corrupt(const std::string& path, const std::string& what) {
  return fail(Reason::ModelCorrupt, fmt::format("{}: {}", path, what),
              "fetch the file again, or check that it is a GGUF model");
}

}  // namespace

Status check_gguf_head(std::string_view head, uint64_t file_bytes, const std::string& path) {
  if (head.size() < kHeaderBytes) return corrupt(path, fmt::format("has only {} bytes", file_bytes));
  Cursor cursor(head);
  if (cursor.take(4) != "GGUF") return corrupt(path, "does not begin with GGUF");
  const auto version = cursor.number<uint32_t>();
  if (version < 2 || version > 3)
    return corrupt(path, fmt::format("has GGUF version {}, known are 2 and 3", version));
  const auto tensors = cursor.number<uint64_t>();
  const auto key_values = cursor.number<uint64_t>();
  if (tensors == 0 || tensors > kMaxTensors || key_values > kMaxKeyValues) {
    return corrupt(path, fmt::format("claims {} tensors and {} key-values", tensors, key_values));
  }
  uint64_t alignment = kDefaultAlignment;
  for (uint64_t i = 0; i < key_values && cursor.ok(); ++i) skip_key_value(cursor, alignment);
  uint64_t last = 0;  // where the last tensor ends within the data
  for (uint64_t i = 0; i < tensors && cursor.ok(); ++i) last = std::max(last, read_tensor_info(cursor));
  if (!cursor.ok()) {
    // A head that was cut at our limit tells nothing more; a shorter file is damaged.
    if (head.size() < file_bytes) return {};
    return corrupt(path, "ends or goes wrong within its metadata");
  }
  if (alignment == 0 || alignment > kMiB) return corrupt(path, fmt::format("has alignment {}", alignment));
  const uint64_t data = (cursor.at() + alignment - 1) / alignment * alignment;
  if (data > file_bytes || last > file_bytes - data) {
    return corrupt(path, fmt::format("is cut off: has {} bytes, its last tensor ends {} bytes after {}",
                                     file_bytes, last, data));
  }
  return {};
}

Status check_gguf(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(system_error(errno, "cannot open the model " + path));
  struct stat info{};
  fstat(fd, &info);
  const auto size = static_cast<uint64_t>(info.st_size);
  std::string head(std::min<uint64_t>(size, kMaxHeadBytes), '\0');
  size_t filled = 0;
  while (filled < head.size()) {
    const ssize_t got = ::read(fd, head.data() + filled, head.size() - filled);
    if (got <= 0) break;
    filled += static_cast<size_t>(got);
  }
  ::close(fd);
  head.resize(filled);
  return check_gguf_head(head, size, path);
}

}  // namespace tweendeck::serving
