// Runs all tests of the program; prints one line per failed test and the count. Words select by `Suite.Name`
// parts.
#include <gtest/gtest.h>

#include <memory>

int main(int count, char** words) {
  int ran = 0, failed = 0;
  for (const auto& it : testing::standin::cases()) {
    const std::string name = std::string(it.suite) + "." + it.name;
    bool chosen = count < 2;
    for (int i = 1; i < count; ++i) chosen = chosen || name.find(words[i]) != std::string::npos;
    if (!chosen) continue;
    const int before = testing::standin::failures();
    const std::unique_ptr<testing::Test> test(it.make());
    test->SetUp();
    test->TestBody();
    test->TearDown();
    ++ran;
    if (testing::standin::failures() == before) continue;
    ++failed;
    std::cerr << "FAILED " << name << std::endl;
  }
  std::cout << ran << " tests, " << failed << " failed" << std::endl;
  return failed != 0 || ran == 0 ? 1 : 0;
}
