#include "sim/trace/text_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <memory>

namespace tweendeck::sim {

namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr int kGzipWindowBits = 15 + 16;  // zlib: the largest window, and a gzip header

struct Inflater {
  Inflater() { ready = inflateInit2(&stream, kGzipWindowBits) == Z_OK; }
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
  bool ready = false;
};

Error too_large(const std::string& source) {
  return {Reason::LimitExceeded, fmt::format("{} is larger than {} bytes", source, kMaxTextBytes),
          "split the trace"};
}

}  // namespace

Result<std::string> gunzip(std::string_view bytes, const std::string& source) {
  if (!bytes.starts_with("\x1f\x8b")) return std::string(bytes);
  Inflater inflater;
  if (!inflater.ready) return fail(Reason::Internal, "zlib cannot start");
  std::string text;
  std::string chunk(kChunkBytes, '\0');
  inflater.stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  inflater.stream.avail_in = static_cast<uInt>(bytes.size());
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    inflater.stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    inflater.stream.avail_out = static_cast<uInt>(chunk.size());
    state = inflate(&inflater.stream, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END) {
      const char* why = inflater.stream.msg != nullptr ? inflater.stream.msg : "it ends early";
      return fail(Reason::InvalidArgument, fmt::format("{} is broken gzip: {}", source, why),
                  "copy the file again");
    }
    text.append(chunk.data(), chunk.size() - inflater.stream.avail_out);
    if (text.size() > kMaxTextBytes) return fail(too_large(source));
  }
  return text;
}

Result<std::string> read_text_file(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) return fail(system_error(errno, "cannot open " + path));
  std::string bytes;
  std::string chunk(kChunkBytes, '\0');
  while (size_t got = std::fread(chunk.data(), 1, chunk.size(), file.get())) {
    bytes.append(chunk.data(), got);
    if (bytes.size() > kMaxTextBytes) return fail(too_large(path));
  }
  if (std::ferror(file.get()) != 0) return fail(system_error(errno, "cannot read " + path));
  return gunzip(bytes, path);
}

}  // namespace tweendeck::sim
