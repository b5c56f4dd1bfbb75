#include "app/client/state_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace tweendeck::client {
namespace {

cli::Environment variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](std::string_view name) -> std::optional<std::string> {
    auto found = values.find(std::string(name));
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

TEST(StateDir, GivenThenRootThenXdgThenHome) {
  auto all = variables({{"XDG_STATE_HOME", "/x"}, {"HOME", "/h"}});
  EXPECT_EQ(*resolve_state_dir("/given/", true, all), "/given");
  EXPECT_EQ(*resolve_state_dir("", true, all), "/var/lib/tweendeck");
  EXPECT_EQ(*resolve_state_dir("", false, all), "/x/tweendeck");
  EXPECT_EQ(*resolve_state_dir("", false, variables({{"HOME", "/h"}})), "/h/.local/state/tweendeck");
  EXPECT_FALSE(resolve_state_dir("", false, variables({})));
  EXPECT_TRUE(std::filesystem::path(*resolve_state_dir("relative", false, all)).is_absolute());
}

TEST(SocketPath, LongDirectoriesGetAShortPath) {
  EXPECT_EQ(choose_socket_path("/var/lib/tweendeck", "/run/tweendeck"), "/var/lib/tweendeck/tweendeck.sock");
  std::string deep = "/" + std::string(120, 'd');
  std::string path = choose_socket_path(deep, "/run/tweendeck");
  EXPECT_LE(path.size(), kMaxSocketPathBytes);
  EXPECT_EQ(path.find("/run/tweendeck/"), 0);
  EXPECT_EQ(path, choose_socket_path(deep, "/run/tweendeck"));
  EXPECT_NE(path, choose_socket_path(deep + "x", "/run/tweendeck"));
}

TEST(SocketPath, ClientsFollowTheFile) {
  std::filesystem::path dir = std::filesystem::temp_directory_path() / "tweendeck-state-dir-test";
  std::filesystem::create_directories(dir);
  std::filesystem::remove(dir / "socket");
  EXPECT_EQ(find_socket_path(dir), dir.string() + "/tweendeck.sock");
  std::ofstream(dir / "socket") << "/run/tweendeck/abc.sock\n";
  EXPECT_EQ(find_socket_path(dir), "/run/tweendeck/abc.sock");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace tweendeck::client
