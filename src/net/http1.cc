#include "net/http1.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "base/text.h"

namespace tweendeck::net {
namespace {

constexpr size_t kMaxLengthDigits = 18;  // of Content-Length: below 10^18
constexpr size_t kMaxShownBytes = 40;    // of a bad name in an error message

enum CharClass : uint8_t { kToken = 1, kValue = 2, kTarget = 4 };

constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> table{};
  for (int c = 0; c < 256; ++c) {
    if ((c >= 0x20 && c != 0x7f) || c == '\t') table[c] |= kValue;
    if (c > 0x20 && c < 0x7f) table[c] |= kTarget;
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) table[c] |= kToken;
  }
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
    table[static_cast<uint8_t>(c)] |= kToken;
  }
  return table;
}
constexpr auto kClasses = make_classes();

bool all_of(std::string_view text, CharClass wanted) {
  for (char c : text) {
    if (!(kClasses[static_cast<uint8_t>(c)] & wanted)) return false;
  }
  return true;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Field field_id(std::string_view name) {
  auto is = [&](std::string_view known) { return equals_ignoring_case(name, known); };
  switch (name.size()) {
    case 2:
      return is("te") ? Field::Te : Field::Other;
    case 4:
      return is("host") ? Field::Host : Field::Other;
    case 6:
      return is("expect") ? Field::Expect : Field::Other;
    case 7:
      return is("upgrade") ? Field::Upgrade : is("trailer") ? Field::Trailer : Field::Other;
    case 10:
      return is("connection") ? Field::Connection : is("keep-alive") ? Field::KeepAlive : Field::Other;
    case 12:
      return is("content-type") ? Field::ContentType : Field::Other;
    case 13:
      return is("authorization") ? Field::Authorization : Field::Other;
    case 14:
      return is("content-length") ? Field::ContentLength : Field::Other;
    case 16:
      return is("proxy-connection") ? Field::ProxyConnection : Field::Other;
    case 17:
      return is("transfer-encoding") ? Field::TransferEncoding : Field::Other;
    case 18:
      return is("proxy-authenticate") ? Field::ProxyAuthenticate : Field::Other;
    case 19:
      return is("proxy-authorization") ? Field::ProxyAuthorization : Field::Other;
    default:
      return Field::Other;
  }
}

// Fields and framing of one head; the same rules for requests and responses, each with its own reason code.
class HeadParser {
 public:
  HeadParser(std::string_view head, const HttpLimits& limits, Reason malformed)
      : rest_(head), limits_(limits), malformed_(malformed) {}

  std::unexpected<Error> refuse(std::string message, std::string hint = {}) const {
    return fail(malformed_, std::move(message), std::move(hint));
  }

  // The next line without its CRLF. The head is known to end in CRLF CRLF.
  Status line(std::string_view& out) {
    const void* found = std::memchr(rest_.data(), '\n', rest_.size());
    if (found == nullptr) return refuse("the head ends inside a line");
    size_t length = static_cast<size_t>(static_cast<const char*>(found) - rest_.data());
    if (length == 0 || rest_[length - 1] != '\r') return refuse("a line of the head does not end in CRLF");
    out = rest_.substr(0, length - 1);
    rest_.remove_prefix(length + 1);
    return {};
  }

  Status fields(MessageHead& head) {
    head.fields.clear();
    head.connection_options = {};
    head.framing = Framing::None;
    head.content_length = 0;
    std::string_view text;
    while (true) {
      if (auto ok = line(text); !ok) return ok;
      if (text.empty()) break;
      if (head.fields.size() >= limits_.fields) {
        return fail(malformed_ == Reason::MalformedRequest ? Reason::HeadersTooLarge : malformed_,
                    fmt::format("more than {} header fields", limits_.fields));
      }
      if (auto ok = field(text, head); !ok) return ok;
    }
    if (!rest_.empty()) return refuse("bytes follow the head");
    return {};
  }

  int host_count() const { return hosts_; }

 private:
  Status field(std::string_view text, MessageHead& head) {
    if (text.front() == ' ' || text.front() == '\t') return refuse("a header field is folded over two lines");
    size_t colon = text.find(':');
    if (colon == std::string_view::npos) return refuse("a header line has no colon");
    HeaderField parsed{text.substr(0, colon), trim_blanks(text.substr(colon + 1)), Field::Other};
    if (parsed.name.empty() || !all_of(parsed.name, kToken)) {
      return refuse(fmt::format("{} is no header name", json_quote(parsed.name.substr(0, kMaxShownBytes))));
    }
    if (!all_of(parsed.value, kValue)) {
      return refuse(fmt::format("header {} holds a control byte", parsed.name.substr(0, kMaxShownBytes)));
    }
    parsed.id = field_id(parsed.name);
    head.fields.push_back(parsed);
    switch (parsed.id) {
      case Field::ContentLength:
        return content_length(parsed.value, head);
      case Field::TransferEncoding:
        return transfer_encoding(parsed.value, head);
      case Field::Connection:
        if (head.connection_options.data() != nullptr) return refuse("two Connection fields");
        head.connection_options = parsed.value;
        return {};
      case Field::Host:
        ++hosts_;
        return {};
      default:
        return {};
    }
  }

  Status content_length(std::string_view value, MessageHead& head) {
    if (head.framing == Framing::Length) return refuse("two Content-Length fields");
    if (head.framing == Framing::Chunked) return refuse("Content-Length beside Transfer-Encoding");
    if (value.empty() || value.size() > kMaxLengthDigits) return refuse("Content-Length is no number");
    uint64_t length = 0;
    for (char c : value) {
      if (c < '0' || c > '9') return refuse("Content-Length is no number");
      length = length * 10 + static_cast<uint64_t>(c - '0');
    }
    head.framing = Framing::Length;
    head.content_length = length;
    return {};
  }

  Status transfer_encoding(std::string_view value, MessageHead& head) {
    if (head.framing == Framing::Chunked) return refuse("two Transfer-Encoding fields");
    if (head.framing == Framing::Length) return refuse("Transfer-Encoding beside Content-Length");
    if (head.minor_version == 0) return refuse("Transfer-Encoding in an HTTP/1.0 message");
    if (!equals_ignoring_case(value, "chunked")) return refuse("Transfer-Encoding is not \"chunked\"");
    head.framing = Framing::Chunked;
    return {};
  }

  std::string_view rest_;
  const HttpLimits& limits_;
  Reason malformed_;
  int hosts_ = 0;
};

bool parse_version(std::string_view text, int& minor) {
  if (text == "HTTP/1.1") {
    minor = 1;
  } else if (text == "HTTP/1.0") {
    minor = 0;
  } else {
    return false;
  }
  return true;
}

void set_keep_alive(MessageHead& head) {
  head.keep_alive = head.minor_version == 1 ? !list_contains(head.connection_options, "close")
                                            : list_contains(head.connection_options, "keep-alive");
}

}  // namespace

std::string_view MessageHead::find(std::string_view name) const {
  for (const HeaderField& field : fields) {
    if (equals_ignoring_case(field.name, name)) {
      return field.value.data() != nullptr ? field.value : std::string_view("");
    }
  }
  return {};
}

Result<size_t> head_size(std::string_view buffer, size_t& scanned, const HttpLimits& limits) {
  // Each line feed is looked at once: the head ends where one is followed by CRLF.
  while (scanned < buffer.size()) {
    const void* found = std::memchr(buffer.data() + scanned, '\n', buffer.size() - scanned);
    if (found == nullptr) {
      scanned = buffer.size();
      break;
    }
    size_t at = static_cast<size_t>(static_cast<const char*>(found) - buffer.data());
    if (at >= limits.head_bytes) break;
    scanned = at;
    if (at + 2 >= buffer.size()) break;  // the same line feed again when more has come
    if (buffer[at + 1] == '\r' && buffer[at + 2] == '\n') {
      if (at + 3 > limits.head_bytes) break;
      return at + 3;
    }
    scanned = at + 1;
  }
  if (buffer.size() >= limits.head_bytes) {
    return fail(Reason::HeadersTooLarge, fmt::format("the head passes {} bytes", limits.head_bytes));
  }
  return size_t{0};
}

Status parse_request_head(std::string_view head, const HttpLimits& limits, RequestHead& out) {
  HeadParser parser(head, limits, Reason::MalformedRequest);
  std::string_view line;
  if (auto ok = parser.line(line); !ok) return ok;
  size_t first = line.find(' ');
  size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return parser.refuse("the request line is not METHOD TARGET VERSION");
  out.method = line.substr(0, first);
  out.target = line.substr(first + 1, second - first - 1);
  if (out.method.empty() || !all_of(out.method, kToken)) return parser.refuse("the method is no token");
  if (out.target.empty() || out.target.front() != '/' || !all_of(out.target, kTarget)) {
    return parser.refuse("the request target is no path", "ask for a path such as /v1/models");
  }
  if (!parse_version(line.substr(second + 1), out.minor_version)) {
    return parser.refuse("the version is not HTTP/1.1 or HTTP/1.0");
  }
  if (auto ok = parser.fields(out); !ok) return ok;
  if (parser.host_count() > 1 || (parser.host_count() == 0 && out.minor_version == 1)) {
    return parser.refuse(fmt::format("{} Host fields instead of one", parser.host_count()));
  }
  set_keep_alive(out);
  out.expect_continue = false;
  for (const HeaderField& field : out.fields) {
    if (field.id != Field::Expect) continue;
    if (!equals_ignoring_case(field.value, "100-continue")) return parser.refuse("an unknown Expect field");
    out.expect_continue = out.minor_version == 1;
  }
  return {};
}

Status parse_response_head(std::string_view head, const HttpLimits& limits, bool to_head, ResponseHead& out) {
  HeadParser parser(head, limits, Reason::UpstreamFailed);
  std::string_view line;
  if (auto ok = parser.line(line); !ok) return ok;
  // "HTTP/1.1 200 OK"; the phrase and its space may be missing.
  if (line.size() < 12 || !parse_version(line.substr(0, 8), out.minor_version) || line[8] != ' ') {
    return parser.refuse("the status line is not HTTP/1.x STATUS");
  }
  out.status = 0;
  for (char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return parser.refuse("the status is no number");
    out.status = out.status * 10 + (c - '0');
  }
  if (out.status < 100 || (line.size() > 12 && line[12] != ' '))
    return parser.refuse("the status is no number");
  out.reason_phrase = line.size() > 13 ? line.substr(13) : std::string_view();
  if (!all_of(out.reason_phrase, kValue)) return parser.refuse("the reason phrase holds a control byte");
  if (auto ok = parser.fields(out); !ok) return ok;
  set_keep_alive(out);
  bool bodiless = to_head || out.status / 100 == 1 || out.status == 204 || out.status == 304;
  if (bodiless) {
    out.framing = Framing::None;
  } else if (out.framing == Framing::None) {
    out.framing = Framing::UntilClose;
    out.keep_alive = false;
  }
  return {};
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

bool list_contains(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    if (equals_ignoring_case(trim_blanks(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

bool is_hop_by_hop(const HeaderField& field, const MessageHead& head) {
  switch (field.id) {
    case Field::Connection:
    case Field::KeepAlive:
    case Field::ProxyAuthenticate:
    case Field::ProxyAuthorization:
    case Field::ProxyConnection:
    case Field::Te:
    case Field::Trailer:
    case Field::TransferEncoding:
    case Field::Upgrade:
      return true;
    default:
      return !head.connection_options.empty() && list_contains(head.connection_options, field.name);
  }
}

std::string_view status_text(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 507:
      return "Insufficient Storage";
    default:
      return "Unknown";
  }
}

}  // namespace tweendeck::net
