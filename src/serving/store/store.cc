#include "serving/store/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <sys/stat.h>
#include <cerrno>

#include <mutex>

#include "net/json.h"
#include "serving/spec/deployment_spec.h"
#include "serving/store/sqlite.h"
#include "serving/store/state_lock.h"

namespace tweendeck::serving {
namespace {

// One entry per schema version: entry i brings version i to i+1.
constexpr const char* kMigrations[kSchemaVersion] = {R"sql(
CREATE TABLE deployments (
  name TEXT PRIMARY KEY, spec TEXT NOT NULL, engine TEXT NOT NULL, model_format TEXT NOT NULL,
  model_path TEXT NOT NULL, model_name TEXT NOT NULL, revision INTEGER NOT NULL, removing INTEGER NOT NULL,
  drain_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE replicas (
  id TEXT PRIMARY KEY, deployment TEXT NOT NULL, ordinal INTEGER NOT NULL, revision INTEGER NOT NULL,
  slice_id TEXT NOT NULL, uid_index INTEGER NOT NULL UNIQUE, restarts INTEGER NOT NULL, failures INTEGER NOT NULL,
  oom_kills_seen INTEGER NOT NULL, last_exit TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, wall_ns INTEGER NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL,
  action TEXT NOT NULL, message TEXT NOT NULL);
CREATE INDEX events_by_subject ON events (subject, id);
CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO numbers VALUES ('next', 1);
)sql"};

std::string exit_to_json(const ExitRecord& exit) {
  if (!exit.valid) return "";
  net::JsonWriter w;
  w.object().field("exit_code", exit.exit_code).field("signal", exit.signal);
  w.field("reason", to_string(exit.reason)).field("message", exit.message).field("hint", exit.hint);
  w.field("wall_ns", static_cast<int64_t>(exit.wall_ns)).end();
  return w.take();
}

ExitRecord exit_from_json(const std::string& text) {
  ExitRecord exit;
  if (text.empty()) return exit;
  const auto json = net::parse_json(text);
  if (!json) return exit;
  exit.valid = true;
  exit.exit_code = static_cast<int>((*json)["exit_code"].integer_or(0));
  exit.signal = static_cast<int>((*json)["signal"].integer_or(0));
  exit.reason = parse_reason((*json)["reason"].text_or("")).value_or(Reason::Internal);
  exit.message = (*json)["message"].text_or("");
  exit.hint = (*json)["hint"].text_or("");
  exit.wall_ns = (*json)["wall_ns"].integer_or(0);
  return exit;
}

Result<uint64_t> single_number(Database& database, const char* sql) {
  Query query(database, sql);
  auto row = query.step();
  if (!row) return fail(row.error());
  return *row ? query.number(0) : 0;
}

Result<uint64_t> known_version(Database& database) {
  auto version = single_number(database, "PRAGMA user_version");
  if (!version) return fail(version.error());
  if (*version > static_cast<uint64_t>(kSchemaVersion)) {
    return fail(Reason::StateNewer,
                fmt::format("the state has schema version {}, this tweendeck knows up to {}", *version,
                            kSchemaVersion),
                "run the newer tweendeck that wrote it, or give another --state-dir");
  }
  return version;
}

// Only its owner reads the state, whatever directory it is in; SQLite gives its other files the same mode.
Status open_private(Database& database, const std::string& state_dir) {
  const std::string path = state_dir + "/state.db";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail(system_error(errno, "cannot open " + path));
  ::close(fd);
  return database.open(path);
}

Status migrate(Database& database) {
  auto version = known_version(database);
  if (!version) return fail(version.error());
  for (auto at = static_cast<int>(*version); at < kSchemaVersion; ++at) {
    Transaction transaction(database);
    if (auto begun = transaction.begun(); !begun) return begun;
    if (auto done = database.run(kMigrations[at]); !done) return done;
    if (auto done = database.run(fmt::format("PRAGMA user_version = {}", at + 1).c_str()); !done) return done;
    if (auto done = transaction.commit(); !done) return done;
  }
  return {};
}

Event read_event(const Query& query) {
  Event event;
  event.id = query.number(0);
  event.wall_ns = static_cast<Nanos>(query.number(1));
  event.subject = query.text(2);
  event.reason = parse_reason(query.text(3)).value_or(Reason::None);
  event.action = query.text(4);
  event.message = query.text(5);
  return event;
}

Result<std::vector<Event>> read_events(Query& query) {
  std::vector<Event> events;
  for (;;) {
    auto row = query.step();
    if (!row) return fail(row.error());
    if (!*row) return events;
    events.push_back(read_event(query));
  }
}

}  // namespace

struct StateStore::Impl {
  Impl(std::string dir, StateLock taken) : state_dir(std::move(dir)), lock(std::move(taken)) {}

  std::string state_dir;
  StateLock lock;
  mutable std::mutex mutex;
  mutable Database database;
};

StateStore::StateStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateStore::~StateStore() = default;
const std::string& StateStore::state_dir() const {
  return impl_->state_dir;
}

Result<std::unique_ptr<StateStore>> StateStore::open(const std::string& state_dir) {
  auto lock = StateLock::take(state_dir);
  if (!lock) return fail(lock.error());
  auto impl = std::make_unique<Impl>(state_dir, std::move(*lock));
  Database& database = impl->database;
  if (auto opened = open_private(database, state_dir); !opened) return fail(opened.error());
  for (const char* pragma :
       {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = OFF"}) {
    if (auto done = database.run(pragma); !done) return fail(done.error());
  }
  if (auto done = migrate(database); !done) return fail(done.error());
  return std::unique_ptr<StateStore>(new StateStore(std::move(impl)));
}

Status StateStore::check(const std::string& state_dir) {
  if (Status usable = make_state_dir(state_dir); !usable) return usable;
  Database database;
  if (Status opened = open_private(database, state_dir); !opened) return opened;
  if (auto version = known_version(database); !version) return fail(version.error());
  return {};
}

Result<std::vector<StoredDeployment>> StateStore::deployments() const {
  const std::lock_guard guard(impl_->mutex);
  Query query(impl_->database,
              "SELECT spec, engine, model_format, model_path, model_name, revision, removing, drain_ns FROM "
              "deployments "
              "ORDER BY name");
  std::vector<StoredDeployment> result;
  for (;;) {
    auto row = query.step();
    if (!row) return fail(row.error());
    if (!*row) return result;
    auto spec = parse_deployment_json(query.text(0));
    if (!spec) {
      return fail(Reason::StateCorrupt, "a stored deployment is malformed: " + spec.error().message,
                  "move state.db away to start with empty state");
    }
    StoredDeployment stored;
    stored.spec = std::move(*spec);
    stored.engine = query.text(1);
    stored.model_format = query.text(2);
    stored.model_path = query.text(3);
    stored.model_name = query.text(4);
    stored.revision = query.number(5);
    stored.removing = query.number(6) != 0;
    stored.drain = static_cast<Nanos>(query.number(7));
    result.push_back(std::move(stored));
  }
}

Result<std::vector<StoredReplica>> StateStore::replicas() const {
  const std::lock_guard guard(impl_->mutex);
  Query query(
      impl_->database,
      "SELECT id, deployment, ordinal, revision, slice_id, uid_index, restarts, failures, oom_kills_seen, "
      "last_exit FROM replicas ORDER BY deployment, ordinal");
  std::vector<StoredReplica> result;
  for (;;) {
    auto row = query.step();
    if (!row) return fail(row.error());
    if (!*row) return result;
    StoredReplica stored;
    stored.id = query.text(0);
    stored.deployment = query.text(1);
    stored.ordinal = static_cast<uint32_t>(query.number(2));
    stored.revision = query.number(3);
    stored.slice_id = query.text(4);
    stored.uid_index = static_cast<uint32_t>(query.number(5));
    stored.restarts = static_cast<uint32_t>(query.number(6));
    stored.failures = static_cast<uint32_t>(query.number(7));
    stored.oom_kills_seen = query.number(8);
    stored.last_exit = exit_from_json(query.text(9));
    result.push_back(std::move(stored));
  }
}

Status StateStore::put_deployments(const std::vector<StoredDeployment>& deployments) {
  const std::lock_guard guard(impl_->mutex);
  Transaction transaction(impl_->database);
  if (auto begun = transaction.begun(); !begun) return begun;
  for (const StoredDeployment& each : deployments) {
    Query query(impl_->database, "INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query.bind(each.spec.name).bind(to_json(each.spec)).bind(each.engine).bind(each.model_format);
    query.bind(each.model_path).bind(each.model_name).bind(each.revision).bind(uint64_t{each.removing});
    query.bind(static_cast<int64_t>(each.drain));
    if (auto done = query.run(); !done) return done;
  }
  return transaction.commit();
}

Status StateStore::erase_deployment(const std::string& name) {
  const std::lock_guard guard(impl_->mutex);
  return Query(impl_->database, "DELETE FROM deployments WHERE name = ?").bind(name).run();
}

Status StateStore::put_replica(const StoredReplica& replica) {
  const std::lock_guard guard(impl_->mutex);
  // Not OR REPLACE: two replicas with one uid_index must fail, not push each other out.
  Query query(impl_->database,
              "INSERT INTO replicas VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
              "deployment = excluded.deployment, ordinal = excluded.ordinal, revision = excluded.revision, "
              "slice_id = excluded.slice_id, uid_index = excluded.uid_index, restarts = excluded.restarts, "
              "failures = excluded.failures, oom_kills_seen = excluded.oom_kills_seen, last_exit = "
              "excluded.last_exit");
  query.bind(replica.id).bind(replica.deployment).bind(uint64_t{replica.ordinal}).bind(replica.revision);
  query.bind(replica.slice_id).bind(uint64_t{replica.uid_index}).bind(uint64_t{replica.restarts});
  query.bind(uint64_t{replica.failures}).bind(replica.oom_kills_seen).bind(exit_to_json(replica.last_exit));
  return query.run();
}

Status StateStore::erase_replica(const std::string& id) {
  const std::lock_guard guard(impl_->mutex);
  return Query(impl_->database, "DELETE FROM replicas WHERE id = ?").bind(id).run();
}

Result<uint64_t> StateStore::next_number() {
  const std::lock_guard guard(impl_->mutex);
  Query query(impl_->database,
              "UPDATE numbers SET value = value + 1 WHERE name = 'next' RETURNING value - 1");
  auto row = query.step();
  if (!row) return fail(row.error());
  const uint64_t number = query.number(0);
  if (auto done = query.run(); !done) return fail(done.error());
  return number;
}

Status StateStore::append_events(std::vector<Event>& events) {
  if (events.empty()) return {};
  const std::lock_guard guard(impl_->mutex);
  Transaction transaction(impl_->database);
  if (auto begun = transaction.begun(); !begun) return begun;
  for (Event& event : events) {
    Query query(impl_->database,
                "INSERT INTO events (wall_ns, subject, reason, action, message) VALUES (?, ?, ?, ?, ?)");
    query.bind(static_cast<int64_t>(event.wall_ns)).bind(event.subject).bind(to_string(event.reason));
    query.bind(event.action).bind(event.message);
    if (auto done = query.run(); !done) return done;
    event.id = static_cast<uint64_t>(sqlite3_last_insert_rowid(impl_->database.handle()));
  }
  Query trim(impl_->database, "DELETE FROM events WHERE id <= ?");
  const uint64_t newest = events.back().id;
  if (auto done = trim.bind(newest > kMaxEvents ? newest - kMaxEvents : 0).run(); !done) return done;
  return transaction.commit();
}

Result<std::vector<Event>> StateStore::events(uint64_t since, size_t limit) const {
  const std::lock_guard guard(impl_->mutex);
  Query query(
      impl_->database,
      "SELECT id, wall_ns, subject, reason, action, message FROM events WHERE id > ? ORDER BY id LIMIT ?");
  query.bind(since).bind(uint64_t{limit});
  return read_events(query);
}

Result<std::vector<Event>> StateStore::events_of(const std::string& subject, size_t limit) const {
  const std::lock_guard guard(impl_->mutex);
  Query query(
      impl_->database,
      "SELECT * FROM (SELECT id, wall_ns, subject, reason, action, message FROM events WHERE subject = ? "
      "ORDER BY id DESC LIMIT ?) ORDER BY id");
  query.bind(subject).bind(uint64_t{limit});
  return read_events(query);
}

Result<uint64_t> StateStore::last_event_id() const {
  const std::lock_guard guard(impl_->mutex);
  return single_number(impl_->database, "SELECT COALESCE(MAX(id), 0) FROM events");
}

Status StateStore::limit_pages(uint64_t pages) {
  const std::lock_guard guard(impl_->mutex);
  constexpr uint64_t kNoLimit = 1'073'741'823;
  return impl_->database.run(
      fmt::format("PRAGMA max_page_count = {}", pages == 0 ? kNoLimit : pages).c_str());
}

}  // namespace tweendeck::serving
