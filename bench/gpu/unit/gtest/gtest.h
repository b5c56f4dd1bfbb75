// The few things of GoogleTest that the vgpu library's unit tests use, for machines that do not have it.
// Failed expectations are printed with their place and values and counted; an assertion also leaves the test.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace testing {

class Test {
 public:
  virtual ~Test() = default;
  virtual void SetUp() {}
  virtual void TearDown() {}
  virtual void TestBody() = 0;
};

namespace standin {

struct Case {
  const char *suite, *name;
  Test* (*make)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int& failures() {
  static int count = 0;
  return count;
}
template <class T>
struct Registered {
  Registered(const char* suite, const char* name) {
    cases().push_back({suite, name, [] { return static_cast<Test*>(new T); }});
  }
};

template <class T>
std::string shown(const T& value) {
  if constexpr (requires(std::ostream& out) { out << value; }) {
    std::ostringstream out;
    out << value;
    return out.str();
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else {
    return "?";
  }
}

// What a failed check prints, with what the test streams to it. Assigning to void ends the statement.
struct Failure {
  Failure(const char* file, int line, const std::string& what) {
    ++failures();
    std::cerr << file << ":" << line << ": " << what;
  }
  ~Failure() { std::cerr << std::endl; }
  template <class T>
  Failure& operator<<(const T& value) {
    std::cerr << " " << shown(value);
    return *this;
  }
};
struct Void {
  void operator=(const Failure&) const {}
};

struct Outcome {
  bool ok;
  std::string text;
};
template <class A, class B, class Compare>
Outcome compared(const char* text, const A& a, const B& b, Compare compare) {
  return {compare(a, b), std::string(text) + ": " + shown(a) + " and " + shown(b)};
}

}  // namespace standin
}  // namespace testing

#define TW_CASE(suite, name, base)                                                                 \
  struct suite##_##name##_Test : public base {                                                     \
    void TestBody() override;                                                                      \
  };                                                                                               \
  static ::testing::standin::Registered<suite##_##name##_Test> suite##_##name##_at{#suite, #name}; \
  void suite##_##name##_Test::TestBody()
#define TEST(suite, name) TW_CASE(suite, name, ::testing::Test)
#define TEST_F(fixture, name) TW_CASE(fixture, name, fixture)

#define TW_CHECK(leave, ...)                                                       \
  if (const ::testing::standin::Outcome tw_outcome = (__VA_ARGS__); tw_outcome.ok) \
    ;                                                                              \
  else                                                                             \
    leave ::testing::standin::Failure(__FILE__, __LINE__, tw_outcome.text)
#define TW_EXPECT(...) TW_CHECK(::testing::standin::Void() =, __VA_ARGS__)
#define TW_ASSERT(...) TW_CHECK(return ::testing::standin::Void() =, __VA_ARGS__)
#define TW_COMPARED(a, op, b) \
  ::testing::standin::compared(#a " " #op " " #b, a, b, [](const auto& x, const auto& y) { return x op y; })
#define TW_TRUTH(a, wanted)              \
  ::testing::standin::Outcome {          \
    static_cast<bool>(a) == (wanted), #a \
  }
#define TW_NEAR(a, b, most)                                                              \
  ::testing::standin::compared(#a " near " #b, a, b, [&](const auto& x, const auto& y) { \
    return std::fabs(static_cast<double>(x) - static_cast<double>(y)) <= (most);         \
  })

#define TW_SAME_TEXT(a, b)                                                            \
  ::testing::standin::compared(#a " == " #b, a, b, [](const char* x, const char* y) { \
    return x == y || (x != nullptr && y != nullptr && std::strcmp(x, y) == 0);        \
  })

#define EXPECT_EQ(a, b) TW_EXPECT(TW_COMPARED(a, ==, b))
#define EXPECT_NE(a, b) TW_EXPECT(TW_COMPARED(a, !=, b))
#define EXPECT_LT(a, b) TW_EXPECT(TW_COMPARED(a, <, b))
#define EXPECT_LE(a, b) TW_EXPECT(TW_COMPARED(a, <=, b))
#define EXPECT_GT(a, b) TW_EXPECT(TW_COMPARED(a, >, b))
#define EXPECT_GE(a, b) TW_EXPECT(TW_COMPARED(a, >=, b))
#define EXPECT_TRUE(a) TW_EXPECT(TW_TRUTH(a, true))
#define EXPECT_FALSE(a) TW_EXPECT(TW_TRUTH(a, false))
#define ADD_FAILURE() ::testing::standin::Failure(__FILE__, __LINE__, "failure")
#define FAIL() return ::testing::standin::Void() = ADD_FAILURE()
#define SCOPED_TRACE(text) static_cast<void>(text)
#define EXPECT_NEAR(a, b, most) TW_EXPECT(TW_NEAR(a, b, most))
#define EXPECT_STREQ(a, b) TW_EXPECT(TW_SAME_TEXT(a, b))
#define ASSERT_EQ(a, b) TW_ASSERT(TW_COMPARED(a, ==, b))
#define ASSERT_NE(a, b) TW_ASSERT(TW_COMPARED(a, !=, b))
#define ASSERT_LT(a, b) TW_ASSERT(TW_COMPARED(a, <, b))
#define ASSERT_LE(a, b) TW_ASSERT(TW_COMPARED(a, <=, b))
#define ASSERT_GT(a, b) TW_ASSERT(TW_COMPARED(a, >, b))
#define ASSERT_GE(a, b) TW_ASSERT(TW_COMPARED(a, >=, b))
#define ASSERT_STREQ(a, b) TW_ASSERT(TW_SAME_TEXT(a, b))
#define ASSERT_TRUE(a) TW_ASSERT(TW_TRUTH(a, true))
#define ASSERT_NEAR(a, b, most) TW_ASSERT(TW_NEAR(a, b, most))
#define ASSERT_FALSE(a) TW_ASSERT(TW_TRUTH(a, false))
