// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <ostream>
#include <streambuf>
#include <vector>

#include "core/base/check.hpp"

namespace strata {

namespace {

[[noreturn]] void fail(const std::string& path, int error) {
  throw InputError(path, std::strerror(error), "a file that can be written");
}

/// A file descriptor as a stream buffer; remembers the first error, because streams only know good and bad.
class DescriptorBuffer : public std::streambuf {
 public:
  explicit DescriptorBuffer(int descriptor) : descriptor_(descriptor), block_(1 << 16) {
    setp(block_.data(), block_.data() + block_.size());
  }
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override {
    if (sync() != 0) return traits_type::eof();
    if (!traits_type::eq_int_type(c, traits_type::eof())) {
      *pptr() = traits_type::to_char_type(c);
      pbump(1);
    }
    return traits_type::not_eof(c);
  }
  std::streamsize xsputn(const char* text, std::streamsize count) override {
    if (count < epptr() - pptr()) {
      std::memcpy(pptr(), text, static_cast<std::size_t>(count));
      pbump(static_cast<int>(count));
      return count;
    }
    return sync() == 0 && write_all(text, static_cast<std::size_t>(count)) ? count : 0;
  }
  int sync() override {
    const bool written = write_all(pbase(), static_cast<std::size_t>(pptr() - pbase()));
    setp(block_.data(), block_.data() + block_.size());
    return written ? 0 : -1;
  }

 private:
  bool write_all(const char* text, std::size_t count) {
    while (count > 0 && error_ == 0) {
      const ssize_t written = ::write(descriptor_, text, count);
      if (written < 0) {
        if (errno != EINTR) error_ = errno;
        continue;
      }
      text += written;
      count -= static_cast<std::size_t>(written);
    }
    return error_ == 0;
  }

  int descriptor_;
  int error_ = 0;
  std::vector<char> block_;
};

/// Where a descriptor can be given a name.
std::string link_of(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

/// Has no name until it is whole, where the file system can do that: a process that is killed then leaves
/// nothing. Elsewhere it has `name` from the start. Closes the descriptor and removes the file unless it took
/// its target's place.
class TemporaryFile {
 public:
  TemporaryFile(std::string name, const std::string& target) : name_(std::move(name)) {
    const std::filesystem::path folder = std::filesystem::path(name_).parent_path();
    descriptor_ = ::open(folder.empty() ? "." : folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    if (descriptor_ >= 0 && ::access(link_of(descriptor_).c_str(), F_OK) == 0) return;
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail(target, errno);
    named_ = true;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    ::close(descriptor_);
    if (named_) ::unlink(name_.c_str());
  }
  int descriptor() const { return descriptor_; }
  void rename_to(const std::string& target) {
    if (::fsync(descriptor_) != 0 && errno != EINVAL) fail(target, errno);
    if (!named_) {
      const std::string link = link_of(descriptor_);
      if (::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, name_.c_str(), AT_SYMLINK_FOLLOW) != 0)
        fail(target, errno);
      named_ = true;
    }
    if (::rename(name_.c_str(), target.c_str()) != 0) fail(target, errno);
    named_ = false;
  }

 private:
  std::string name_;
  int descriptor_ = -1;
  bool named_ = false;  ///< there is a file `name_` to remove
};

void write_to(int descriptor, const std::string& path, const std::function<void(std::ostream&)>& write) {
  DescriptorBuffer buffer(descriptor);
  std::ostream out(&buffer);
  write(out);
  out.flush();
  if (!out || buffer.error() != 0) fail(path, buffer.error() != 0 ? buffer.error() : EIO);
}

/// A name beside `target` that does not exist: a process writes one file under one name at a time. It does
/// not grow with the target's, which may be as long as a name can be.
std::string temporary_name(const std::string& target) {
  const std::filesystem::path folder = std::filesystem::path(target).parent_path();
  for (int attempt = 0;; ++attempt) {
    std::string name =
        folder / fmt::format(".strata.{}.{:x}.{}.tmp", ::getpid(), std::hash<std::string>()(target), attempt);
    struct stat status {};
    if (::lstat(name.c_str(), &status) != 0) return name;
  }
}

}  // namespace

void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& write) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) fail(path, EISDIR);
  if (exists && !S_ISREG(status.st_mode)) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) fail(path, errno);
    try {
      write_to(descriptor, path, write);
    } catch (...) {
      ::close(descriptor);
      throw;
    }
    ::close(descriptor);
    return;
  }
  // A link keeps pointing at its file; the file is replaced.
  std::error_code unresolved;
  const std::filesystem::path resolved = std::filesystem::canonical(path, unresolved);
  const std::string target = exists && !unresolved ? resolved.string() : path;
  TemporaryFile file(temporary_name(target), path);
  if (exists && ::fchmod(file.descriptor(), status.st_mode & 0777) != 0) fail(path, errno);
  write_to(file.descriptor(), path, write);
  file.rename_to(target);
}

}  // namespace strata
