#include "app/client/chat_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

namespace tweendeck::client {
namespace {

constexpr std::string_view kReplicaHeader = "x-tweendeck-replica";
constexpr size_t kMaxErrorBodyBytes = 64 << 10;
constexpr long kMaxIdleConnections = 1024;
constexpr long kConnectTimeoutMs = 5000;

struct Transfer {
  ChatAnswer answer;
  ChatClient::OnText on_text;
  ChatClient::OnDone on_done;
  std::string body;        // sent
  std::string error_body;  // of an answer that is no 200
  SseReader events;
  std::string stream_error;
  uint64_t pieces = 0;
  Nanos first_byte = 0;
  CURL* easy = nullptr;
  const Clock* clock = nullptr;

  void take(std::string_view data) {
    ChatProgress progress = read_chat_event(data);
    if (!progress.error.empty()) stream_error = progress.error;
    if (!progress.finish_reason.empty()) answer.finish_reason = progress.finish_reason;
    if (progress.has_usage) answer.usage = progress.usage;
    if (progress.text.empty()) return;
    answer.last_token = clock->now();
    if (pieces++ == 0) answer.first_token = answer.last_token;
    answer.text += progress.text;
    if (on_text) on_text(progress.text);
  }
};

size_t on_body(char* data, size_t, size_t size, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  if (transfer.first_byte == 0) transfer.first_byte = transfer.clock->now();
  long status = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  std::string_view bytes(data, size);
  if (status == 200) {
    if (!transfer.events.feed(bytes, [&](std::string_view event) { transfer.take(event); })) return 0;
  } else if (transfer.error_body.size() + size <= kMaxErrorBodyBytes) {
    transfer.error_body += bytes;
  }
  return size;
}

size_t on_header(char* data, size_t, size_t size, void* context) {
  std::string_view line(data, size);
  size_t colon = line.find(':');
  if (colon != kReplicaHeader.size()) return size;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name != kReplicaHeader) return size;
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front())) != 0)
    value.remove_prefix(1);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())) != 0)
    value.remove_suffix(1);
  static_cast<Transfer*>(context)->answer.replica = value;
  return size;
}

Error transport_error(CURLcode code, const ChatTarget& target) {
  std::string message = fmt::format("no answer from {}: {}", target.base_url, curl_easy_strerror(code));
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
      return {Reason::UpstreamFailed, message,
              target.ca_file.empty()
                  ? "name the file of the certificate that you trust with --ca FILE"
                  : fmt::format("the certificates of --ca {} do not vouch for it, or not for this host name",
                                target.ca_file)};
    case CURLE_SSL_CACERT_BADFILE:
      return {Reason::InvalidArgument, message,
              fmt::format("--ca {} must be a readable file of PEM certificates", target.ca_file)};
    case CURLE_SSL_CONNECT_ERROR:
      return {Reason::UpstreamFailed, message,
              "does it speak TLS? `tweendeck version` shows the gateway's URL"};
    case CURLE_COULDNT_CONNECT:
      return {Reason::DaemonUnreachable, message, "is the daemon up? start it with `tweendeck up --detach`"};
    case CURLE_OPERATION_TIMEDOUT:
      return {Reason::Timeout, message, "`tweendeck top` shows what the replicas do"};
    default:
      return {Reason::UpstreamFailed, message, "`tweendeck events` tells what happened"};
  }
}

}  // namespace

struct ChatClient::Impl {
  ChatTarget target;
  const Clock& clock;
  CURLM* multi = nullptr;
  curl_slist* headers = nullptr;
  std::map<CURL*, std::unique_ptr<Transfer>> transfers;

  Impl(ChatTarget where, const Clock& time) : target(std::move(where)), clock(time) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kMaxIdleConnections);
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");  // no extra round trip before large prompts
    if (!target.api_key.empty()) {
      headers = curl_slist_append(headers, ("Authorization: Bearer " + target.api_key).c_str());
    }
  }

  ~Impl() {
    cancel_all();
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void cancel_all() {
    for (auto& [easy, transfer] : transfers) {
      curl_multi_remove_handle(multi, easy);
      curl_easy_cleanup(easy);
    }
    transfers.clear();
  }

  void start(std::unique_ptr<Transfer> transfer) {
    CURL* easy = curl_easy_init();
    transfer->easy = easy;
    transfer->clock = &clock;
    transfer->answer.sent = clock.now();
    curl_easy_setopt(easy, CURLOPT_URL, (target.base_url + "/v1/chat/completions").c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer->body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body.data());
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer.get());
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer.get());
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(target.timeout / kMillisecond));
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    if (!target.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, target.ca_file.c_str());
    curl_multi_add_handle(multi, easy);
    transfers.emplace(easy, std::move(transfer));
  }

  void finish(CURL* easy, CURLcode code) {
    auto found = transfers.find(easy);
    if (found == transfers.end()) return;
    std::unique_ptr<Transfer> transfer = std::move(found->second);
    transfers.erase(found);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(multi, easy);
    curl_easy_cleanup(easy);

    ChatAnswer& answer = transfer->answer;
    answer.ended = clock.now();
    if (answer.first_token == 0)
      answer.first_token = transfer->first_byte != 0 ? transfer->first_byte : answer.ended;
    if (answer.last_token == 0) answer.last_token = answer.first_token;
    if (answer.usage.output_tokens == 0) answer.usage.output_tokens = transfer->pieces;
    if (status != 0 && status != 200) {
      answer.status = fail(chat_error(static_cast<int>(status), transfer->error_body));
    } else if (code != CURLE_OK) {
      answer.status = fail(transport_error(code, target));
    } else if (!transfer->stream_error.empty()) {
      answer.status =
          fail(Reason::UpstreamFailed, transfer->stream_error, "`tweendeck events` tells what happened");
    }
    transfer->on_done(answer);
  }
};

ChatClient::ChatClient(ChatTarget target, const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(target), clock)) {}
ChatClient::~ChatClient() = default;

void ChatClient::start(const ChatRequest& request, OnText on_text, OnDone on_done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->on_text = std::move(on_text);
  transfer->on_done = std::move(on_done);
  transfer->body = chat_body(request);
  impl_->start(std::move(transfer));
}

Status ChatClient::wait(Nanos at_most) {
  int running = 0;
  CURLMcode code = curl_multi_perform(impl_->multi, &running);
  int left = 0;
  bool finished = false;
  while (CURLMsg* message = curl_multi_info_read(impl_->multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    finished = true;
    impl_->finish(message->easy_handle, message->data.result);
  }
  if (!finished && code == CURLM_OK) {
    // Rounded up: a wait of less than a millisecond must not spin.
    auto timeout_ms = static_cast<int>((at_most + kMillisecond - 1) / kMillisecond);
    code = curl_multi_poll(impl_->multi, nullptr, 0, timeout_ms, nullptr);
  }
  if (code != CURLM_OK)
    return fail(Reason::IoError, fmt::format("HTTP client: {}", curl_multi_strerror(code)));
  return {};
}

size_t ChatClient::active() const {
  return impl_->transfers.size();
}
void ChatClient::cancel_all() {
  impl_->cancel_all();
}

}  // namespace tweendeck::client
