// Shell completion. The scripts are thin: they hand the words typed so far to the hidden command
// `__complete`, which answers one candidate per line, so that every shell completes the same and names of
// running things are fresh.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/cli/command.h"

namespace tweendeck::cli {

struct Candidate {
  std::string word;
  std::string says;  // shown by zsh and fish
};

// Names that only the daemon knows; an unreachable daemon gives none.
using DynamicNames = std::function<std::vector<Candidate>(Complete)>;

struct Completion {
  std::vector<Candidate> candidates;
  Complete files = Complete::None;  // File or Directory: the shell adds paths
};

// `words`: what stands after "tweendeck", the last one is being typed (maybe empty). Pure except `names`.
Completion complete(const std::vector<Command>& commands, const std::vector<std::string>& words,
                    const DynamicNames& names);

// Errors: InvalidArgument for other shells.
Result<std::string> completion_script(std::string_view shell);

}  // namespace tweendeck::cli
