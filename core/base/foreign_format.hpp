// SPDX-License-Identifier: Apache-2.0
// Files of other programs that people hand to a reader of lengths or of JSON: archives, tensors, tables,
// logs. Naming what a file is helps more than the first byte that was not understood.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace strata {

struct ForeignFormat {
  std::string found;   ///< "a gzip archive"
  std::string advice;  ///< "unpack it first"
};

/// As many bytes from the begin of a file as the functions below look at.
inline constexpr std::size_t kForeignPrefix = 512;

/// Recognises archives, containers and other files that begin with a mark. `start` is the first
/// kForeignPrefix bytes, fewer when the file is shorter. Nothing when none is recognised.
std::optional<ForeignFormat> foreign_binary(std::string_view start);
/// Recognises text that is neither numbers, CSV nor JSON: XML, YAML, TOML, tables of nvidia-smi, logs. This
/// is only for a reader that cannot read the file: a CSV whose first field is a date looks like a log.
std::optional<ForeignFormat> foreign_text(std::string_view start);
/// What foreign_binary recognises, else what foreign_text does.
std::optional<ForeignFormat> foreign_format(std::string_view start);
/// The same for the begin of a file; nothing when `path` is no regular file or cannot be read.
std::optional<ForeignFormat> foreign_file(const std::string& path);

}  // namespace strata
