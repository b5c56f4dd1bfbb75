// The gateway's small parts: keys, answers.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "net/json.h"
#include "routing/gateway/answers.h"
#include "routing/gateway/auth.h"

namespace tweendeck::routing::gateway {
namespace {

class KeysFile {
 public:
  explicit KeysFile(std::string_view text) {
    char name[] = "/tmp/tw-keys-XXXXXX";
    int fd = ::mkstemp(name);
    path_ = name;
    ::close(fd);
    std::ofstream(path_) << text;
  }
  ~KeysFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(ApiKeys, AcceptsListedKeysOnly) {
  KeysFile file("# team a\n\nfirst-key-0123456789\n  second-key-0123456789 \n");
  auto keys = ApiKeys::load(file.path());
  ASSERT_TRUE(keys) << keys.error().message;
  EXPECT_TRUE(keys->required());
  EXPECT_TRUE(keys->accepts("Bearer first-key-0123456789"));
  EXPECT_TRUE(keys->accepts("bearer second-key-0123456789"));
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer first-key-012345678", "first-key-0123456789",
                          "Basic first-key-0123456789", "Bearer first-key-01234567890"}) {
    EXPECT_FALSE(keys->accepts(bad)) << bad;
  }
}

TEST(ApiKeys, BadFilesAreNamedWithoutTheirContent) {
  EXPECT_EQ(ApiKeys::load("/nonexistent/keys").error().reason, Reason::NotFound);
  EXPECT_EQ(ApiKeys::load(KeysFile("# none\n").path()).error().reason, Reason::InvalidArgument);
  auto error = ApiKeys::load(KeysFile("short\n").path()).error();
  EXPECT_NE(error.message.find(":1:"), std::string::npos);
  EXPECT_EQ(error.message.find("short\n"), std::string::npos);
}

TEST(Answers, ErrorsAreOpenAiObjects) {
  std::string answer =
      error_answer({Reason::QueueFull, "8 \"wait\"", "try again"}, 1500 * kMillisecond, true);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
  EXPECT_NE(answer.find("Retry-After: 2\r\n"), std::string::npos);
  auto body = net::parse_json(std::string_view(answer).substr(answer.find("\r\n\r\n") + 4));
  ASSERT_TRUE(body);
  EXPECT_EQ((*body)["error"]["code"].text_or(""), "QueueFull");
  EXPECT_EQ((*body)["error"]["type"].text_or(""), "rate_limit_error");
  EXPECT_EQ((*body)["error"]["message"].text_or(""), "8 \"wait\"; try again");
}

}  // namespace
}  // namespace tweendeck::routing::gateway
