// SPDX-License-Identifier: Apache-2.0
// A folder that several processes see, for passing files: written beside their place and renamed into it, so
// that whoever finds one finds all of it. What the file system refuses is a std::system_error with the path.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strata {

class SharedFolder {
 public:
  SharedFolder() = default;
  explicit SharedFolder(std::filesystem::path path) : path_(std::move(path)) {}
  const std::filesystem::path& path() const { return path_; }

  /// Makes the folder for this user alone. One that is there already will do.
  void make() const;
  /// Makes a network file system look at its server again. False when the folder is gone.
  bool refresh() const;
  /// Puts a file there, or in place of what bears the name. `by` differs between all who may write under this
  /// name, ever. Leaves nothing when it fails.
  void publish(const std::string& name, std::span<const std::byte> content, std::string_view by = "") const;
  void publish(const std::string& name, std::string_view text, std::string_view by = "") const {
    publish(name, std::as_bytes(std::span(text.data(), text.size())), by);
  }
  /// Nothing while there is no such file.
  std::optional<std::vector<std::byte>> read(const std::string& name) const;
  std::optional<std::string> read_text(const std::string& name) const;
  /// No error when it is not there.
  void remove(const std::string& name) const;
  /// Changes the folder and leaves it as it was; no error when that cannot be done. A network file system
  /// tells by a folder's time of change whether a name that was not there may be now. Two changes within a
  /// tick of its server's clock have one time. Who looked between them would go on missing the second.
  void stir(std::string_view by) const;
  /// Everything in it, in no order; nothing when it is gone.
  std::vector<std::string> names() const;

 private:
  std::filesystem::path path_;
};

}  // namespace strata
