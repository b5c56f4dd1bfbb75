// The little of SQLite that the store needs, with errors as values. Not thread-safe; the store's mutex guards
// it.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tweendeck::serving {

class Database {
 public:
  Database() = default;
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Status open(const std::string& path);
  Status run(const char* sql);  // statements without parameters and results
  sqlite3* handle() const { return handle_; }
  Error error(std::string_view what) const;  // of the last call that failed

 private:
  sqlite3* handle_ = nullptr;
  std::string path_;
};

// One prepared statement. Values are bound in order; the first error is kept and told by step() and run().
class Query {
 public:
  Query(Database& database, const char* sql);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& bind(std::string_view text);
  Query& bind(uint64_t number);
  Query& bind(int64_t number);

  Result<bool> step();  // true: a row is there
  Status run();         // to the end, ignoring rows

  std::string text(int column) const;
  uint64_t number(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 1;
  int result_ = SQLITE_OK;
};

// Rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Status begun() const { return begun_; }
  Status commit();

 private:
  Database& database_;
  Status begun_;
  bool open_ = false;
};

}  // namespace tweendeck::serving
