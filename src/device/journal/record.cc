#include "device/journal/record.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <bit>
#include <cstring>
#include <optional>

namespace tweendeck::device {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the journal is written in the machine's byte order");

constexpr uint32_t kVersionWithLiveShares = 2;
constexpr std::string_view kMagic = "TWSLICE\n";
constexpr std::string_view kAdvice =
    "move the file away and start again: slices found on the machine are then removed as leaked";

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<uint16_t>(text.size()));
  out.append(text);
}

// Reads fields in order; the first one that is missing makes every later read fail.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  T take() {
    T value{};
    if (bytes_.size() < sizeof value) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string take_text() {
    size_t size = take<uint16_t>();
    if (!ok_ || bytes_.size() < size) {
      ok_ = false;
      return {};
    }
    std::string text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return text;
  }
  bool complete() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

uint64_t checksum(std::string_view first, std::string_view second) {
  return XXH3_64bits_withSeed(second.data(), second.size(), XXH3_64bits(first.data(), first.size()));
}

void put_share(std::string& out, const Share& share) {
  put(out, share.memory_bytes);
  put(out, share.compute_percent);
  put(out, share.priority);
  put(out, share.ceiling_percent);
  put(out, share.weight);
  put(out, share.memory_wait_ms);
}

Share take_share(Reader& reader, uint32_t version) {
  Share share;
  share.memory_bytes = reader.take<uint64_t>();
  share.compute_percent = reader.take<uint32_t>();
  share.priority = reader.take<int32_t>();
  if (version < kVersionWithLiveShares) return share;
  share.ceiling_percent = reader.take<uint32_t>();
  share.weight = reader.take<uint32_t>();
  share.memory_wait_ms = reader.take<uint32_t>();
  return share;
}

std::string encode_payload(const SliceRecord& record) {
  const Slice& slice = record.slice;
  std::string out;
  put(out, static_cast<uint8_t>(record.kind));
  put_text(out, slice.id);
  if (record.kind == RecordKind::BeginPrepare) {
    put_text(out, record.provider);
    put_text(out, slice.device_id);
    put_text(out, slice.owner);
    put_text(out, slice.deployment);
    put_share(out, slice.share);
  } else if (record.kind == RecordKind::Prepared) {
    put_text(out, to_string(slice.isolation));
    put_text(out, to_string(slice.isolation_reason));
  } else if (record.kind == RecordKind::Resized) {
    put_share(out, slice.share);
    put(out, static_cast<uint8_t>(slice.paused));
  }
  return out;
}

std::optional<SliceRecord> decode_payload(std::string_view payload, uint32_t version) {
  Reader reader(payload);
  SliceRecord record;
  auto kind = reader.take<uint8_t>();
  if (kind < static_cast<uint8_t>(RecordKind::BeginPrepare) ||
      kind > static_cast<uint8_t>(version < kVersionWithLiveShares ? RecordKind::Released
                                                                   : RecordKind::Resized)) {
    return std::nullopt;
  }
  record.kind = static_cast<RecordKind>(kind);
  record.slice.id = reader.take_text();
  if (record.kind == RecordKind::BeginPrepare) {
    record.provider = reader.take_text();
    record.slice.device_id = reader.take_text();
    record.slice.owner = reader.take_text();
    record.slice.deployment = reader.take_text();
    record.slice.share = take_share(reader, version);
  } else if (record.kind == RecordKind::Prepared) {
    std::string isolation = reader.take_text();
    std::optional<Reason> reason = parse_reason(reader.take_text());
    if (!reason || !parse_isolation(isolation, record.slice.isolation)) return std::nullopt;
    record.slice.isolation_reason = *reason;
  } else if (record.kind == RecordKind::Resized) {
    record.slice.share = take_share(reader, version);
    const auto paused = reader.take<uint8_t>();
    if (paused > 1) return std::nullopt;
    record.slice.paused = paused == 1;
  }
  if (!reader.complete()) return std::nullopt;
  return record;
}

struct Frame {
  uint64_t sequence;
  std::string_view payload;
};

// The whole record at the start of `bytes`, or nothing when it is incomplete or fails its checksum.
std::optional<Frame> frame_at(std::string_view bytes) {
  if (bytes.size() < kFrameBytes) return std::nullopt;
  Reader reader(bytes.substr(0, kFrameBytes));
  auto size = reader.take<uint32_t>();
  auto sequence = reader.take<uint64_t>();
  auto check = reader.take<uint64_t>();
  if (size == 0 || size > kMaxPayloadBytes || bytes.size() - kFrameBytes < size) return std::nullopt;
  std::string_view payload = bytes.substr(kFrameBytes, size);
  if (checksum(bytes.substr(0, 12), payload) != check) return std::nullopt;
  return Frame{sequence, payload};
}

// `rest` starts where a record should but no valid one does.
bool is_torn_tail(std::string_view rest, uint64_t expected_sequence) {
  if (rest.size() > kFrameBytes + kMaxPayloadBytes) return false;
  for (size_t at = 1; at < rest.size(); ++at) {
    std::optional<Frame> later = frame_at(rest.substr(at));
    if (later && later->sequence > expected_sequence) return false;
  }
  return true;
}

// The version of the file; 0 = its header is torn.
Result<uint32_t> version_of(std::string_view bytes) {
  for (uint32_t version = kOldestJournalVersion; version <= kJournalVersion; ++version) {
    const std::string expected = encode_header(version);
    if (bytes.size() < kHeaderBytes && expected.starts_with(bytes)) return 0;
    if (bytes.starts_with(expected)) return version;
  }
  if (bytes.size() < kHeaderBytes)
    return fail(Reason::JournalCorrupt, "the slice journal's header is damaged", std::string(kAdvice));
  Reader reader(bytes.substr(kMagic.size(), 4));
  auto version = reader.take<uint32_t>();
  if (bytes.starts_with(encode_header(version)) && version > kJournalVersion) {
    return fail(Reason::StateNewer,
                fmt::format("the slice journal has version {}; this program knows up to {}", version,
                            kJournalVersion),
                "run the newer Tweendeck that wrote it");
  }
  return fail(Reason::JournalCorrupt, "the slice journal's header is damaged", std::string(kAdvice));
}

std::unexpected<Error> corrupt(uint64_t offset, std::string_view what) {
  return fail(Reason::JournalCorrupt,
              fmt::format("the slice journal is damaged at byte {}: {}", offset, what), std::string(kAdvice));
}

}  // namespace

std::string encode_header(uint32_t version) {
  std::string out(kMagic);
  put(out, version);
  put(out, static_cast<uint32_t>(checksum(out, "")));
  return out;
}

std::string encode_record(const SliceRecord& record, uint64_t sequence) {
  std::string payload = encode_payload(record);
  std::string out;
  put(out, static_cast<uint32_t>(payload.size()));
  put(out, sequence);
  put(out, checksum(out, payload));
  return out + payload;
}

Result<Replay> replay(std::string_view bytes) {
  Replay result;
  const Result<uint32_t> version = version_of(bytes);
  if (!version) return fail(version.error());
  if (*version == 0) {
    result.torn = true;
    return result;
  }
  result.version = *version;
  size_t at = kHeaderBytes;
  while (at < bytes.size()) {
    std::optional<Frame> frame = frame_at(bytes.substr(at));
    if (!frame) {
      if (!is_torn_tail(bytes.substr(at), result.next_sequence))
        return corrupt(at, "a record fails its checksum");
      result.torn = true;
      break;
    }
    std::optional<SliceRecord> record = decode_payload(frame->payload, *version);
    if (!record) return corrupt(at, "a record is malformed");
    if (frame->sequence != result.next_sequence) {
      return corrupt(at,
                     fmt::format("record {} stands where {} is due", frame->sequence, result.next_sequence));
    }
    if (Status ok = result.table.check(*record); !ok) return corrupt(at, ok.error().message);
    result.table.apply(*record);
    ++result.next_sequence;
    at += kFrameBytes + frame->payload.size();
  }
  result.valid_bytes = at;
  return result;
}

}  // namespace tweendeck::device
