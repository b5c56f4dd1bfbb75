#include "serving/store/spare_room.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "net/fd.h"

namespace tweendeck::serving {

void SpareRoom::keep() const {
  struct stat info{};
  if (::stat(path_.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) == kSpareBytes) return;
  struct statvfs disk{};
  const std::string dir = path_.substr(0, path_.rfind('/'));
  if (::statvfs(dir.c_str(), &disk) != 0 || uint64_t{disk.f_bavail} * disk.f_frsize < kSpareNeedsFree) return;
  const net::Fd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return;
  // Real blocks, not a hole. A part of it is of no use.
  if (::posix_fallocate(file.get(), 0, static_cast<off_t>(kSpareBytes)) != 0) ::unlink(path_.c_str());
}

bool SpareRoom::give_up() const {
  return ::unlink(path_.c_str()) == 0;
}

}  // namespace tweendeck::serving
