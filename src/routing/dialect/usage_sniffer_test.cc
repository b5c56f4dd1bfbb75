#include "routing/dialect/usage_sniffer.h"

#include <gtest/gtest.h>

namespace tweendeck::routing::dialect {
namespace {

TEST(UsageSniffer, FindsTheLastCountsWhateverCameBefore) {
  const std::string end =
      R"(data: {"choices":[],"usage":{"prompt_tokens": 41,"completion_tokens":7,"total_tokens":48,)"
      R"("prompt_tokens_details":{"cached_tokens":40}}})"
      "\n\ndata: [DONE]\n\n";
  for (size_t before :
       {size_t{0}, size_t{1}, size_t{2000}, size_t{2047}, size_t{2048}, size_t{5000}, size_t{100'001}}) {
    for (size_t piece : {size_t{1}, size_t{7}, size_t{1000}, size_t{1 << 20}}) {
      std::string text = std::string(before, 'x') + end;
      UsageSniffer sniffer;
      for (size_t at = 0; at < text.size(); at += piece)
        sniffer.update(std::string_view(text).substr(at, piece));
      EXPECT_EQ(sniffer.find(), (Usage{41, 7, 40})) << before << " " << piece;
    }
  }
  UsageSniffer none;
  none.update(R"({"content":"the word \"usage\":{\"prompt_tokens\":9} in a text"})");
  EXPECT_EQ(none.find(), Usage{});
}

}  // namespace
}  // namespace tweendeck::routing::dialect
