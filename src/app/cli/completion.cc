#include "app/cli/completion.h"

#include <fmt/format.h>

#include <algorithm>

namespace tweendeck::cli {
namespace {

constexpr std::string_view kBash = R"sh(# bash completion for tweendeck
# Load it with:  source <(tweendeck completion bash)
_tweendeck() {
  local IFS=$'\n' line word
  COMPREPLY=()
  while IFS= read -r line; do
    case "$line" in
      :file) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2") ;;
      :directory) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$2") ;;
      *) word=${line%%$'\t'*}
         [[ $word == "$2"* ]] && COMPREPLY+=("$word") ;;
    esac
  done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -F _tweendeck tweendeck
)sh";

constexpr std::string_view kZsh = R"sh(#compdef tweendeck
# zsh completion for tweendeck
# Load it with:  source <(tweendeck completion zsh)
_tweendeck() {
  local line
  local -a items
  while IFS= read -r line; do
    case "$line" in
      :file) _files ;;
      :directory) _files -/ ;;
      *) items+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
    esac
  done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
  (( ${#items} )) && _describe 'tweendeck' items
}
(( ${+functions[compdef]} )) && compdef _tweendeck tweendeck
)sh";

constexpr std::string_view kFish = R"sh(# fish completion for tweendeck
# Load it with:  tweendeck completion fish | source
function __tweendeck_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in (command $words[1] __complete -- $words[2..-1] 2>/dev/null)
    switch $line
      case ':file'
        __fish_complete_path (commandline -ct)
      case ':directory'
        __fish_complete_directories (commandline -ct)
      case '*'
        echo $line
    end
  end
end
complete -c tweendeck -f -a '(__tweendeck_complete)'
)sh";

class Completer {
 public:
  Completer(const std::vector<Command>& commands, const DynamicNames& names)
      : commands_(commands), names_(names) {}

  Completion run(const std::vector<std::string>& words) {
    std::string typed = words.empty() ? std::string() : words.back();
    for (size_t i = 0; i + 1 < words.size(); ++i) pass(words[i]);
    if (pending_ != nullptr) {
      values_of(*pending_, "");
    } else if (typed.starts_with("-")) {
      flags_or_value(typed);
    } else if (command_ == nullptr) {
      command_names();
    } else if (!command_->args.empty()) {
      size_t index = std::min(args_, command_->args.size() - 1);
      if (args_ < command_->args.size() || command_->args.back().rest) names(command_->args[index].complete);
    }
    std::erase_if(out_.candidates, [&](const Candidate& c) { return !c.word.starts_with(typed); });
    return std::move(out_);
  }

 private:
  // Follows a finished word: what does the next one mean?
  void pass(const std::string& word) {
    if (pending_ != nullptr) {
      pending_ = nullptr;
    } else if (word.starts_with("-") && word.size() > 1) {
      if (word.find('=') != std::string::npos) return;
      const Flag* flag = flag_of(word);
      if (flag != nullptr && flag->kind != FlagKind::Switch) pending_ = flag;
    } else if (command_ == nullptr) {
      command_ = find_command(commands_, word);
    } else {
      ++args_;
    }
  }

  const Flag* flag_of(std::string_view word) const {
    for (const std::vector<Flag>* flags : flag_lists()) {
      for (const Flag& flag : *flags) {
        if (word.starts_with("--") ? word.substr(2) == flag.name : word[1] == flag.letter) return &flag;
      }
    }
    return nullptr;
  }

  std::vector<const std::vector<Flag>*> flag_lists() const {
    if (command_ == nullptr) return {&common_flags()};
    return {&command_->flags, &common_flags()};
  }

  void flags_or_value(const std::string& typed) {
    size_t equals = typed.find('=');
    if (equals != std::string::npos) {
      if (const Flag* flag = flag_of(typed.substr(0, equals)); flag != nullptr) {
        values_of(*flag, typed.substr(0, equals + 1));
      }
      return;
    }
    for (const std::vector<Flag>* flags : flag_lists()) {
      for (const Flag& flag : *flags) {
        if (!flag.hidden) add(fmt::format("--{}", flag.name), flag.help);
      }
    }
  }

  void values_of(const Flag& flag, const std::string& prefix) {
    for (std::string_view choice : flag.choices) add(prefix + std::string(choice), flag.help);
    size_t before = out_.candidates.size();
    names(flag.complete);
    for (size_t i = before; i < out_.candidates.size(); ++i) {
      out_.candidates[i].word.insert(0, prefix);
    }
  }

  void names(Complete kind) {
    if (kind == Complete::None) return;
    if (kind == Complete::File || kind == Complete::Directory) {
      out_.files = kind;
    } else if (kind == Complete::Command) {
      command_names();
    } else {
      for (Candidate& candidate : names_(kind)) out_.candidates.push_back(std::move(candidate));
      if (kind == Complete::Model) out_.files = Complete::File;
    }
  }

  void command_names() {
    for (const Command& command : commands_) {
      if (!command.hidden) add(std::string(command.name), command.summary);
    }
  }

  void add(std::string word, std::string_view says) {
    out_.candidates.push_back({std::move(word), std::string(says.substr(0, says.find('\n')))});
  }

  const std::vector<Command>& commands_;
  const DynamicNames& names_;
  const Command* command_ = nullptr;
  const Flag* pending_ = nullptr;  // a flag whose value comes next
  size_t args_ = 0;
  Completion out_;
};

}  // namespace

Completion complete(const std::vector<Command>& commands, const std::vector<std::string>& words,
                    const DynamicNames& names) {
  return Completer(commands, names).run(words);
}

Result<std::string> completion_script(std::string_view shell) {
  if (shell == "bash") return std::string(kBash);
  if (shell == "zsh") return std::string(kZsh);
  if (shell == "fish") return std::string(kFish);
  return fail(Reason::InvalidArgument, fmt::format("no completion for the shell '{}'", shell),
              "use bash, zsh or fish");
}

}  // namespace tweendeck::cli
