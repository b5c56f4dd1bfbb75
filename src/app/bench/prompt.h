// Synthesised prompts: text whose length in tokens is known closely and whose blocks are a function of their
// id, so that equal ids give equal text and different ids differ from their first word on.
//
// One word of three letters and a space is one token for the usual tokenizers and four bytes for an estimate
// by size, so both count the same. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tweendeck::bench {

struct PromptSpec {
  std::vector<uint64_t> blocks = {};  // ids
  uint32_t block_tokens = 0;
  uint32_t tokens = 0;  // in all: the last block may be cut
  bool operator==(const PromptSpec&) const = default;
};

std::string block_text(uint64_t id, uint32_t tokens);
std::string prompt_text(const PromptSpec& spec);

}  // namespace tweendeck::bench
