// Heads and bodies of any bytes. What is accepted must mean the same when it is written out and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/http1.h"

using namespace tweendeck::net;

namespace {

void check_body(const MessageHead& head, std::string_view bytes) {
  BodyReader whole(head), split(head);
  std::string whole_content, split_content;
  BodyReader::Piece piece;
  bool whole_ok = true, split_ok = true;
  for (std::string_view rest = bytes; whole_ok && !rest.empty() && !whole.done();
       rest.remove_prefix(piece.consumed)) {
    whole_ok = whole.next(rest, piece);
    if (!whole_ok) break;
    if (piece.consumed == 0) std::abort();
    whole_content += piece.content;
  }
  for (size_t at = 0; split_ok && at < bytes.size() && !split.done(); ++at) {
    split_ok = split.next(bytes.substr(at, 1), piece);
    split_content += piece.content;
  }
  if (whole_ok != split_ok || whole_content != split_content || whole.done() != split.done()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  HttpLimits limits{.head_bytes = 1024, .fields = 16, .trailer_bytes = 64};
  size_t scanned = 0;
  auto end = head_size(text, scanned, limits);
  if (!end || *end == 0) return 0;
  std::string_view head_text = text.substr(0, *end);
  RequestHead request;
  if (parse_request_head(head_text, limits, request)) {
    std::string again = std::string(request.method) + " " + std::string(request.target) + " HTTP/1." +
                        std::to_string(request.minor_version) + "\r\n";
    for (const HeaderField& field : request.fields) {
      again += std::string(field.name) + ": " + std::string(field.value) + "\r\n";
    }
    again += "\r\n";
    RequestHead second;
    HttpLimits roomy{.head_bytes = 8192, .fields = 16, .trailer_bytes = 64};
    if (!parse_request_head(again, roomy, second) || second.framing != request.framing ||
        second.content_length != request.content_length || second.keep_alive != request.keep_alive) {
      std::abort();
    }
    check_body(request, text.substr(*end));
  }
  ResponseHead response;
  if (parse_response_head(head_text, limits, false, response)) check_body(response, text.substr(*end));
  return 0;
}
