#include "serving/store/sqlite.h"

#include <fmt/format.h>

#include <cerrno>

namespace tweendeck::serving {

Database::~Database() {
  if (handle_ != nullptr) sqlite3_close(handle_);
}

Status Database::open(const std::string& path) {
  path_ = path;
  constexpr int kFlags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
  if (sqlite3_open_v2(path.c_str(), &handle_, kFlags, nullptr) != SQLITE_OK)
    return fail(error("cannot open"));
  sqlite3_extended_result_codes(handle_, 1);
  return {};
}

Status Database::run(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return fail(error("cannot change"));
  return {};
}

Error Database::error(std::string_view what) const {
  const int code = sqlite3_errcode(handle_);
  const int system = sqlite3_system_errno(handle_);
  const std::string message = fmt::format("{} {}: {}", what, path_, sqlite3_errmsg(handle_));
  const bool full = (code & 0xff) == SQLITE_FULL ||
                    ((code & 0xff) == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT));
  if (full) return Error{Reason::DiskFull, message, "free some space; nothing of this change was applied"};
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error{Reason::StateCorrupt, message,
                   "move the file away to start with empty state: replicas that still run are then stopped, "
                   "deployments must be served again"};
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return Error{Reason::PermissionDenied, message, ""};
    default:
      return Error{Reason::IoError, message, ""};
  }
}

Query::Query(Database& database, const char* sql) : database_(database) {
  result_ = sqlite3_prepare_v2(database.handle(), sql, -1, &statement_, nullptr);
}

Query::~Query() {
  sqlite3_finalize(statement_);
}

Query& Query::bind(std::string_view text) {
  if (result_ == SQLITE_OK) {
    result_ =
        sqlite3_bind_text(statement_, next_++, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  }
  return *this;
}

Query& Query::bind(uint64_t number) {
  return bind(static_cast<int64_t>(number));
}

Query& Query::bind(int64_t number) {
  if (result_ == SQLITE_OK) result_ = sqlite3_bind_int64(statement_, next_++, number);
  return *this;
}

Result<bool> Query::step() {
  if (result_ != SQLITE_OK) return fail(database_.error("cannot use"));
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return fail(database_.error("cannot use"));
}

Status Query::run() {
  for (;;) {
    auto row = step();
    if (!row) return fail(row.error());
    if (!*row) return {};
  }
}

std::string Query::text(int column) const {
  const auto* bytes = sqlite3_column_text(statement_, column);
  return bytes == nullptr ? std::string()
                          : std::string(reinterpret_cast<const char*>(bytes),
                                        static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

uint64_t Query::number(int column) const {
  return static_cast<uint64_t>(sqlite3_column_int64(statement_, column));
}

Transaction::Transaction(Database& database) : database_(database), begun_(database.run("BEGIN IMMEDIATE")) {
  open_ = begun_.has_value();
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself (full disk); then there is nothing to do.
  if (open_ && sqlite3_get_autocommit(database_.handle()) == 0) {
    [[maybe_unused]] const Status ignored = database_.run("ROLLBACK");
  }
}

Status Transaction::commit() {
  if (auto done = database_.run("COMMIT"); !done) return done;
  open_ = false;
  return {};
}

}  // namespace tweendeck::serving
