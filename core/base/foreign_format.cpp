// SPDX-License-Identifier: Apache-2.0
#include "core/base/foreign_format.hpp"

#include <array>
#include <filesystem>
#include <fstream>

namespace strata {

namespace {

struct Magic {
  std::string_view bytes;
  std::size_t offset;
  std::string_view found, advice;
};

constexpr std::string_view kUnpack = "unpack it first";
constexpr std::string_view kExport = "export its length column as text, CSV or .npy";
constexpr std::string_view kPickle = "export the lengths as text, CSV or .npy with the program that wrote it";

/// Sources: the published format of each; tar is recognised by its "ustar" in the first header block.
constexpr std::array<Magic, 24> kMagics = {{
    {"\x1f\x8b", 0, "a gzip archive", kUnpack},
    {"BZh", 0, "a bzip2 archive", kUnpack},
    {"\xfd"
     "7zXZ",
     0, "an xz archive", kUnpack},
    {"\x28\xb5\x2f\xfd", 0, "a zstd archive", kUnpack},
    {"\x04\x22\x4d\x18", 0, "an lz4 archive", kUnpack},
    {"7z\xbc\xaf", 0, "a 7z archive", kUnpack},
    {"ustar", 257, "a tar archive", kUnpack},
    {"PAR1", 0, "a Parquet file", kExport},
    {"ARROW1", 0, "an Arrow file", kExport},
    {"FEA1", 0, "a Feather file", kExport},
    {"\xff\xff\xff\xff", 0, "an Arrow stream", kExport},
    {"ORC", 0, "an ORC file", kExport},
    {"Obj\x01", 0, "an Avro file", kExport},
    {"\x89HDF", 0, "an HDF5 file", kExport},
    {"SQLite format 3", 0, "an SQLite database", kExport},
    {"\x80\x02", 0, "a Python pickle", kPickle},
    {"\x80\x03", 0, "a Python pickle", kPickle},
    {"\x80\x04", 0, "a Python pickle", kPickle},
    {"\x80\x05", 0, "a Python pickle", kPickle},
    {"\x7f"
     "ELF",
     0, "a program", "give a text file"},
    {"%PDF", 0, "a PDF document", "give a text file"},
    {"\x89PNG", 0, "a picture", "give a text file"},
    {"\xff\xfe", 0, "UTF-16 text", "save it as UTF-8"},
    {"\xfe\xff", 0, "UTF-16 text", "save it as UTF-8"},
}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_'; }

/// The first line that holds more than blanks.
std::string_view first_line(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin);
  return text.substr(0, text.find_first_of("\r\n"));
}

/// "name" at the begin of a line, then any of `marks`.
bool begins_with_key(std::string_view line, std::string_view marks) {
  std::size_t end = 0;
  while (end < line.size() && (is_word(line[end]) || line[end] == '.' || line[end] == '-')) ++end;
  const bool named = end > 0 && !is_digit(line[0]);
  while (end < line.size() && line[end] == ' ') ++end;
  return named && end < line.size() && marks.find(line[end]) != std::string_view::npos;
}

/// 2026-01-31, 2026/01/31 or [2026-..., or a level such as INFO before anything else.
bool begins_like_a_log(std::string_view line) {
  for (const std::string_view level : {"INFO", "WARN", "ERROR", "DEBUG", "Traceback", "[INFO", "[rank"}) {
    if (line.starts_with(level)) return true;
  }
  if (line.starts_with("[")) line.remove_prefix(1);
  if (line.size() < 10) return false;
  constexpr std::string_view kDate = "dddd-dd-dd";
  for (std::size_t i = 0; i < kDate.size(); ++i) {
    const bool fits = kDate[i] == 'd' ? is_digit(line[i]) : line[i] == '-' || line[i] == '/';
    if (!fits) return false;
  }
  return true;
}

std::optional<ForeignFormat> zip_content(std::string_view start) {
  if (!start.starts_with("PK\x03\x04")) return std::nullopt;
  const auto holds = [&](std::string_view part) { return start.find(part) != std::string_view::npos; };
  if (holds("data.pkl") || holds(".storage")) return ForeignFormat{"a PyTorch file", std::string(kPickle)};
  if (holds(".npy")) return ForeignFormat{"an .npz archive of arrays", "give a single .npy"};
  return ForeignFormat{"a zip archive", std::string(kUnpack)};
}

/// An 8-byte little-endian size of a JSON header, then the header.
bool is_safetensors(std::string_view start) {
  return start.size() > 9 && start[8] == '{' && start[9] == '"' &&
         start.substr(4, 4) == std::string_view("\0\0\0\0", 4);
}

}  // namespace

std::optional<ForeignFormat> foreign_binary(std::string_view start) {
  if (auto zip = zip_content(start)) return zip;
  for (const Magic& magic : kMagics) {
    if (start.size() < magic.offset || !start.substr(magic.offset).starts_with(magic.bytes)) continue;
    return ForeignFormat{std::string(magic.found), std::string(magic.advice)};
  }
  if (is_safetensors(start))
    return ForeignFormat{"a safetensors file", "it holds weights, not lengths or shapes"};
  return std::nullopt;
}

std::optional<ForeignFormat> foreign_text(std::string_view start) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (start.starts_with(kByteOrderMark)) start.remove_prefix(kByteOrderMark.size());
  const std::string_view line = first_line(start);
  if (line.starts_with("<!DOCTYPE") || line.starts_with("<html")) {
    return ForeignFormat{"an HTML page", "download the file itself"};
  }
  if (line.starts_with("<")) return ForeignFormat{"XML", "write what it says as docs/plan-format.md shows"};
  if (line.starts_with("GPU0") ||
      (start.find("GPU0") < kForeignPrefix && start.find("NV") < kForeignPrefix)) {
    return ForeignFormat{"a table of nvidia-smi", "write what it says as docs/plan-format.md shows"};
  }
  if (begins_like_a_log(line)) return ForeignFormat{"a log", "take its numbers out first"};
  if (line.starts_with("SwitchName") || line.starts_with("NodeName") || line.starts_with("BlockName")) {
    return ForeignFormat{"a Slurm configuration", "write what it says as docs/plan-format.md shows"};
  }
  const bool section =
      line.size() > 2 && line[0] == '[' && line.back() == ']' && begins_with_key(line.substr(1), "]");
  const bool words = line != "[true]" && line != "[false]" && line != "[null]" && line != "[NaN]";
  if ((section && words) || begins_with_key(line, "="))
    return ForeignFormat{"TOML or INI", "write it as JSON"};
  if (line.starts_with("---") || line.starts_with("%YAML") || begins_with_key(line, ":")) {
    return ForeignFormat{"YAML", "write it as JSON"};
  }
  return std::nullopt;
}

std::optional<ForeignFormat> foreign_format(std::string_view start) {
  auto format = foreign_binary(start);
  return format ? format : foreign_text(start);
}

std::optional<ForeignFormat> foreign_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  std::array<char, kForeignPrefix> start;
  in.read(start.data(), static_cast<std::streamsize>(start.size()));
  return foreign_format(std::string_view(start.data(), static_cast<std::size_t>(in.gcount())));
}

}  // namespace strata
