// SPDX-License-Identifier: Apache-2.0
#include "executor/job/shared_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace strata {

namespace {

[[noreturn]] void fail(const std::string& path, int error) {
  throw std::system_error(error, std::generic_category(), path);
}

/// ESTALE: a network file system had it a moment ago.
bool is_absent(int error) { return error == ENOENT || error == ESTALE; }

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : value_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  bool is_open() const { return value_ >= 0; }
  int value() const { return value_; }
  /// Whether what was written has arrived, as far as closing tells.
  bool close() { return value_ < 0 || ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

/// False with errno set.
bool write_all(int descriptor, std::span<const std::byte> content) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) content = content.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

/// False with errno set.
bool write_file(const std::string& path, std::span<const std::byte> content) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  return file.is_open() && write_all(file.value(), content) && file.close();
}

}  // namespace

void SharedFolder::make() const {
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) fail(path_, errno);
}

bool SharedFolder::refresh() const {
  const Descriptor folder(path_, O_RDONLY | O_DIRECTORY);
  if (!folder.is_open() && !is_absent(errno)) fail(path_, errno);
  return folder.is_open();
}

void SharedFolder::publish(const std::string& name, std::span<const std::byte> content,
                           std::string_view by) const {
  const std::string place = path_ / name;
  std::string beside = place;
  beside.append(1, '.').append(by).append(".tmp");
  if (write_file(beside, content) && ::rename(beside.c_str(), place.c_str()) == 0) return;
  const int error = errno;
  ::unlink(beside.c_str());
  fail(place, error);
}

std::optional<std::vector<std::byte>> SharedFolder::read(const std::string& name) const {
  const std::string place = path_ / name;
  const Descriptor file(place, O_RDONLY | O_NOFOLLOW);
  struct stat status {};
  if (!file.is_open() || ::fstat(file.value(), &status) != 0) {
    if (is_absent(errno)) return std::nullopt;
    fail(place, errno);
  }
  std::vector<std::byte> content(static_cast<std::size_t>(status.st_size));
  for (std::size_t done = 0; done < content.size();) {
    const ssize_t got = ::read(file.value(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && is_absent(errno)) return std::nullopt;
    if (got <= 0) fail(place, got < 0 ? errno : EIO);
    done += static_cast<std::size_t>(got);
  }
  return content;
}

std::optional<std::string> SharedFolder::read_text(const std::string& name) const {
  const auto content = read(name);
  if (!content) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(content->data()), content->size());
}

void SharedFolder::remove(const std::string& name) const {
  const std::string place = path_ / name;
  if (::unlink(place.c_str()) != 0 && !is_absent(errno)) fail(place, errno);
}

void SharedFolder::stir(std::string_view by) const {
  const std::string place = path_ / (std::string("stir.") += by);
  if (Descriptor(place, O_WRONLY | O_CREAT | O_NOFOLLOW).is_open()) ::unlink(place.c_str());
}

std::vector<std::string> SharedFolder::names() const {
  std::vector<std::string> names;
  std::error_code gone;
  for (std::filesystem::directory_iterator at(path_, gone), end; !gone && at != end; at.increment(gone)) {
    names.push_back(at->path().filename().string());
  }
  return names;
}

}  // namespace strata
