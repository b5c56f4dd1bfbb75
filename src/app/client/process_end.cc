#include "app/client/process_end.h"

#include <fstream>
#include <string>

namespace tweendeck::client {

bool process_ended(int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat;
  if (!file || !std::getline(file, stat)) return true;
  // The name in parentheses may hold anything; the state follows its last one.
  size_t state = stat.rfind(") ");
  return state != std::string::npos && state + 2 < stat.size() &&
         (stat[state + 2] == 'Z' || stat[state + 2] == 'X');
}

}  // namespace tweendeck::client
