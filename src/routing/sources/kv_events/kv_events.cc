#include "routing/sources/kv_events/kv_events.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "net/fd.h"
#include "routing/sources/kv_events/source.h"

namespace tweendeck::routing::sources {
namespace {

constexpr Nanos kTellEvery = kSecond;  // metrics and the log
constexpr size_t kTidyPerTurn = 4096;  // blocks of what nobody sees

}  // namespace

struct KvEventSources::Impl {
  struct Entry {
    std::unique_ptr<Source> source;
    Reason told = Reason::KvEventsUnreachable;
  };

  Impl(const KvEventsConfig& config_in, Registry& registry_in, OnEndpoint on_endpoint_in)
      : config(config_in),
        registry(registry_in),
        on_endpoint(std::move(on_endpoint_in)),
        index(config_in.index) {}
  ~Impl() {
    entries.clear();  // ending the context waits for its sockets
    shared.reset();
    if (context != nullptr) zmq_ctx_term(context);
  }

  void post(std::function<void()> work);
  void run();
  void run_posted();
  void wait();
  void receive_shared(Nanos now);
  void add(const KvSource& settings);
  void remove(const std::string& id);
  void tell();
  void tell_source(const std::string& id, const KvSourceView& view, Reason& told);

  const KvEventsConfig config;
  Registry& registry;
  OnEndpoint on_endpoint;
  kv::KvIndex index;
  SystemClock clock;
  void* context = nullptr;
  net::Fd wake;
  std::thread thread;

  std::mutex mutex;  // of the next three
  std::vector<std::function<void()>> posted;
  bool stopping = false;
  bool running = false;

  // The thread's own.
  std::map<std::string, Entry> entries;
  std::map<std::string, Source*, std::less<>> by_topic;  // of those that connect to us
  std::optional<Subscription> shared;
  ZmqMessage message;
  std::vector<zmq_pollitem_t> items;
  Nanos tell_at = 0;
  uint64_t strangers = 0;  // messages of a topic that nobody has
};

// ---------------------------------------------------------------- the thread

void KvEventSources::Impl::post(std::function<void()> work) {
  std::lock_guard lock(mutex);
  if (!running || stopping) return;
  posted.push_back(std::move(work));
  const uint64_t one = 1;
  (void)!::write(wake.get(), &one, sizeof one);
}

void KvEventSources::Impl::run_posted() {
  uint64_t count = 0;
  (void)!::read(wake.get(), &count, sizeof count);
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex);
    work.swap(posted);
  }
  for (const std::function<void()>& one : work) one();
}

void KvEventSources::Impl::run() {
  while (true) {
    run_posted();
    {
      std::lock_guard lock(mutex);
      if (stopping) break;
    }
    const Nanos now = clock.now();
    if (shared) receive_shared(now);
    for (auto& [id, entry] : entries) entry.source->turn(now);
    index.tidy(kTidyPerTurn);
    if (now >= tell_at) {
      tell_at = now + kTellEvery;
      tell();
    }
    wait();
  }
  for (auto& [id, entry] : entries) index.clear(entry.source->number());
  by_topic.clear();
  entries.clear();
  shared.reset();
}

void KvEventSources::Impl::wait() {
  items.clear();
  items.push_back({nullptr, wake.get(), ZMQ_POLLIN, 0});
  Nanos due = tell_at;
  if (shared) {
    if (shared->socket()) items.push_back({shared->socket().get(), 0, ZMQ_POLLIN, 0});
    if (shared->news()) items.push_back({shared->news().get(), 0, ZMQ_POLLIN, 0});
    due = std::min(due, shared->deadline());
  }
  for (auto& [id, entry] : entries) {
    entry.source->add_poll_items(items);
    due = std::min(due, entry.source->deadline());
  }
  const Nanos left = std::clamp<Nanos>(due - clock.now(), 0, kTellEvery);
  zmq_poll(items.data(), static_cast<int>(items.size()),
           static_cast<long>((left + kMillisecond - 1) / kMillisecond));
}

// Publishers that connect to us share a socket; an end of one of them is an end of all, see the header.
void KvEventSources::Impl::receive_shared(Nanos now) {
  bool ended = false;
  if (shared->look(ended)) {
    for (const auto& [topic, source] : by_topic) source->somebody_connected();
  }
  for (int i = 0; i < kQueuedMessages && !ended && shared->receive(message, ended); ++i) {
    const std::optional<uint64_t> seq = message.size() == 3 ? sequence_in(message[1]) : std::nullopt;
    const auto source = by_topic.find(message[0]);
    if (seq && source != by_topic.end()) {
      source->second->message(*seq, message[2], now);
    } else {
      ++strangers;
    }
  }
  if (ended) {
    for (const auto& [topic, source] : by_topic) source->connection_lost();
    shared->close(now);
  }
  if (now >= shared->deadline() && !shared->open(config.listen, true, "")) shared->close(now);
}

void KvEventSources::Impl::add(const KvSource& settings) {
  const auto known = entries.find(settings.id);
  if (known != entries.end() && known->second.source->settings() == settings) return;
  remove(settings.id);
  const std::optional<kv::EndpointNumber> number = index.add_endpoint();
  if (!number) {
    log::warning("Did not take KV events of one more replica",
                 {{"replica", settings.id}, {"limit", kMaxSources}});
    return;
  }
  Entry& entry = entries[settings.id];
  entry.source = std::make_unique<Source>(context, config, settings, index, *number);
  entry.told = Reason::KvEventsUnreachable;
  if (settings.publisher.empty()) by_topic[settings.topic] = entry.source.get();
  on_endpoint(settings.id, number);
}

void KvEventSources::Impl::remove(const std::string& id) {
  const auto entry = entries.find(id);
  if (entry == entries.end()) return;
  std::erase_if(by_topic, [&](const auto& item) { return item.second == entry->second.source.get(); });
  on_endpoint(id, std::nullopt);
  index.remove_endpoint(entry->second.source->number());
  entries.erase(entry);
  registry.remove("replica", id);
}

// ---------------------------------------------------------------- what it tells

void KvEventSources::Impl::tell() {
  const kv::KvIndexStats stats = index.stats();
  registry.gauge("tweendeck_kv_index_bytes", "Memory of the index of replicas' KV blocks.")
      .set(static_cast<double>(stats.bytes));
  registry
      .gauge("tweendeck_kv_index_blocks",
             "KV blocks that replicas are known to hold, counted for each holder.")
      .set(static_cast<double>(stats.holdings));
  registry.gauge("tweendeck_kv_index_prefixes", "Different KV blocks that are known.")
      .set(static_cast<double>(stats.fingerprints));
  auto total = [&](const char* name, const char* help, const char* kind, uint64_t value) {
    registry.sampled_counter(name, help, {{"kind", kind}}).raise_to(static_cast<double>(value));
  };
  constexpr auto kBlocks = "tweendeck_kv_event_blocks_total";
  constexpr auto kBlocksHelp =
      "KV blocks in replicas' events: stored, removed; refused for want of memory; orphan: behind an unknown "
      "block; unknown: removed without being known; other_group: of layers that say nothing about prefixes.";
  total(kBlocks, kBlocksHelp, "stored", stats.stored);
  total(kBlocks, kBlocksHelp, "removed", stats.removed);
  total(kBlocks, kBlocksHelp, "refused", stats.refused + stats.forgotten);
  total(kBlocks, kBlocksHelp, "orphan", stats.orphans);
  total(kBlocks, kBlocksHelp, "unknown", stats.unknown);
  total(kBlocks, kBlocksHelp, "other_group", stats.other_groups);
  registry
      .sampled_counter("tweendeck_kv_event_strangers_total",
                       "KV event messages of a topic that no replica has.")
      .raise_to(static_cast<double>(strangers));
  for (auto& [id, entry] : entries) tell_source(id, entry.source->view(index), entry.told);
}

void KvEventSources::Impl::tell_source(const std::string& id, const KvSourceView& view, Reason& told) {
  registry
      .gauge("tweendeck_kv_events_known", "1 while the replica's events tell what its KV cache holds.",
             {{"replica", id}})
      .set(view.reason == Reason::None ? 1 : 0);
  auto total = [&](const char* kind, uint64_t value) {
    registry
        .sampled_counter(
            "tweendeck_kv_event_messages_total",
            "Messages of KV events by what came of them: received, duplicate, gap (some were missing), "
            "replay (asked for again), replay_failed, restart (of the engine), loss (all had to be "
            "forgotten), malformed.",
            {{"replica", id}, {"kind", kind}})
        .raise_to(static_cast<double>(value));
  };
  total("received", view.stats.messages);
  total("duplicate", view.stats.duplicates);
  total("gap", view.stats.gaps);
  total("replay", view.stats.replays);
  total("replay_failed", view.stats.replay_failures);
  total("restart", view.stats.restarts);
  total("loss", view.stats.losses);
  total("malformed", view.stats.malformed);
  if (view.reason == told) return;
  told = view.reason;
  log::info(told == Reason::None ? "Knew what a replica's KV cache holds"
                                 : "Had to guess what a replica's KV cache holds",
            {{"replica", id}, {"reason", told}, {"blocks", view.blocks}});
}

// ---------------------------------------------------------------- KvEventSources

KvEventSources::KvEventSources(const KvEventsConfig& config, Registry& registry, OnEndpoint on_endpoint)
    : impl_(std::make_unique<Impl>(config, registry, std::move(on_endpoint))) {}

KvEventSources::~KvEventSources() {
  stop();
}

Status KvEventSources::start() {
  Impl& impl = *impl_;
  impl.context = zmq_ctx_new();
  impl.wake = net::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (impl.context == nullptr || !impl.wake) return fail(system_error(errno, "cannot make a ZeroMQ context"));
  if (!impl.config.listen.empty()) {
    impl.shared.emplace(impl.context, impl.config);
    if (Status opened = impl.shared->open(impl.config.listen, true, ""); !opened) return opened;
  }
  impl.running = true;
  impl.thread = std::thread([this] { impl_->run(); });
  return {};
}

void KvEventSources::stop() {
  {
    std::lock_guard lock(impl_->mutex);
    if (!impl_->running || impl_->stopping) return;
    impl_->stopping = true;
    const uint64_t one = 1;
    (void)!::write(impl_->wake.get(), &one, sizeof one);
  }
  impl_->thread.join();
}

void KvEventSources::set_source(const KvSource& source) {
  impl_->post([this, source] { impl_->add(source); });
}

void KvEventSources::remove_source(const std::string& id) {
  impl_->post([this, id] { impl_->remove(id); });
}

void KvEventSources::restarted(const std::string& id) {
  impl_->post([this, id] {
    const auto entry = impl_->entries.find(id);
    if (entry != impl_->entries.end()) entry->second.source->restarted();
  });
}

kv::KvIndex& KvEventSources::index() {
  return impl_->index;
}

std::vector<KvSourceView> KvEventSources::sources() {
  auto views = std::make_shared<std::promise<std::vector<KvSourceView>>>();
  auto future = views->get_future();
  impl_->post([this, views] {
    std::vector<KvSourceView> all;
    for (const auto& [id, entry] : impl_->entries) all.push_back(entry.source->view(impl_->index));
    views->set_value(std::move(all));
  });
  views.reset();
  try {
    return future.get();
  } catch (const std::future_error&) {  // it has been stopped
    return {};
  }
}

}  // namespace tweendeck::routing::sources
