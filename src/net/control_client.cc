#include "net/control_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <mutex>

#include "net/http1.h"
#include "net/json.h"

namespace tweendeck::net {
namespace {

void init_curl_once() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// What curl's callbacks fill during one call.
struct Transfer {
  const HttpCall& call;
  const size_t max_body_bytes;
  HttpAnswer answer{};
  bool head_told = false;
  bool cancelled = false;
  bool too_large = false;

  void tell_head() {
    if (head_told) return;
    head_told = true;
    if (call.on_head) call.on_head(answer);
  }
};

size_t on_header(char* data, size_t unit, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  std::string_view line(data, unit * count);
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    transfer.answer.headers.clear();  // of an interim answer
    transfer.answer.status = line.size() >= 12 ? std::atoi(std::string(line.substr(9, 3)).c_str()) : 0;
  } else if (size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    transfer.answer.headers.emplace_back(lower_case(line.substr(0, colon)), value);
  }
  return unit * count;
}

size_t on_body(char* data, size_t unit, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  std::string_view bytes(data, unit * count);
  transfer.tell_head();
  if (transfer.call.on_data) {
    if (transfer.call.on_data(bytes)) return bytes.size();
    transfer.cancelled = true;
    return 0;
  }
  if (transfer.answer.body.size() + bytes.size() > transfer.max_body_bytes) {
    transfer.too_large = true;
    return 0;
  }
  transfer.answer.body += bytes;
  return bytes.size();
}

}  // namespace

struct ControlClient::Impl {
  Target target;
  Limits limits;
  CURL* curl = nullptr;
  char error_text[CURL_ERROR_SIZE] = "";

  std::string place() const { return target.socket_path.empty() ? target.base_url : target.socket_path; }

  Error explain(CURLcode code, const Transfer& transfer) const {
    std::string detail = error_text[0] != '\0' ? error_text : curl_easy_strerror(code);
    if (transfer.cancelled) return {Reason::Cancelled, "the caller ended the transfer", ""};
    if (transfer.too_large) {
      return {Reason::LimitExceeded, fmt::format("the answer passes {} bytes", limits.max_body_bytes), ""};
    }
    switch (code) {
      case CURLE_COULDNT_CONNECT:
      case CURLE_COULDNT_RESOLVE_HOST:
        return {Reason::DaemonUnreachable, fmt::format("nothing answers at {}: {}", place(), detail),
                "start the daemon with `tweendeck up`, or name its --state-dir"};
      case CURLE_OPERATION_TIMEDOUT:
        return {Reason::Timeout, fmt::format("no answer from {} in time: {}", place(), detail), ""};
      default:
        return {Reason::IoError, fmt::format("the call to {} failed: {}", place(), detail),
                "it may have ended meanwhile; ask again"};
    }
  }
};

std::string_view HttpAnswer::header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_name) return value;
  }
  return "";
}

ControlClient::ControlClient(Target target, Limits limits) : impl_(std::make_unique<Impl>()) {
  init_curl_once();
  impl_->target = std::move(target);
  impl_->limits = limits;
  impl_->curl = curl_easy_init();
}

ControlClient::~ControlClient() {
  if (impl_->curl != nullptr) curl_easy_cleanup(impl_->curl);
}

Result<HttpAnswer> ControlClient::request(const HttpCall& call) {
  CURL* curl = impl_->curl;
  if (curl == nullptr) return fail(Reason::Internal, "libcurl could not be initialised");
  Transfer transfer{call, impl_->limits.max_body_bytes};
  curl_easy_reset(curl);  // keeps the connection
  impl_->error_text[0] = '\0';
  std::string url = impl_->target.base_url + call.path;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, impl_->error_text);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(impl_->limits.connect_timeout_ms));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(impl_->limits.total_timeout_ms));
  if (!impl_->target.socket_path.empty()) {
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, impl_->target.socket_path.c_str());
  }
  if (!impl_->target.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, impl_->target.ca_file.c_str());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  if (call.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);

  curl_slist* headers = curl_slist_append(nullptr, "Expect:");  // no round trip for large bodies
  bool has_type = false;
  for (const auto& [name, value] : call.headers) {
    headers = curl_slist_append(headers, fmt::format("{}: {}", name, value).c_str());
    has_type = has_type || equals_ignoring_case(name, "content-type");
  }
  if (!call.body.empty()) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call.body.data());
    if (!has_type) headers = curl_slist_append(headers, "Content-Type: application/json");
  } else if (call.method == "POST" || call.method == "PUT") {
    headers = curl_slist_append(headers, "Content-Length: 0");
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  if (code != CURLE_OK) return fail(impl_->explain(code, transfer));
  transfer.tell_head();
  return std::move(transfer.answer);
}

Result<std::string> ControlClient::call(std::string_view method, std::string_view path,
                                        std::string_view body) {
  HttpCall call;
  call.method = method;
  call.path = path;
  call.body = body;
  auto answer = request(call);
  if (!answer) return fail(answer.error());
  if (answer->status / 100 != 2) return fail(error_from_json(answer->body, answer->status));
  return std::move(answer->body);
}

std::string url_encode(std::string_view text) {
  std::string out;
  for (char c : text) {
    bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                 c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

Result<std::string> url_decode(std::string_view text) {
  auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0)) {
      return fail(Reason::MalformedRequest, "the URL holds a malformed percent sign");
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace tweendeck::net
