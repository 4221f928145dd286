// SPDX-License-Identifier: Apache-2.0
// Files of other programs are named for what they are, by the readers of JSON too, and what Strata reads is
// not taken for one of them.
#include "core/base/foreign_format.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "core/json/json_document.hpp"
#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

std::string found(const std::string& start) {
  const auto format = foreign_format(start);
  return format ? format->found : "";
}

TEST(ForeignFormat, NamesArchivesAndContainersByTheirMarks) {
  std::string tar = "lengths.txt" + std::string(246, '\0') + "ustar";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x1f\x8b\x08rest", "a gzip archive"},
      {"PK\x03\x04rest", "a zip archive"},
      {"PK\x03\x04....archive/data.pkl", "a PyTorch file"},
      {"PK\x03\x04....arr_0.npy", "an .npz archive of arrays"},
      {"BZh91AY", "a bzip2 archive"},
      {"\x28\xb5\x2f\xfd....", "a zstd archive"},
      {tar, "a tar archive"},
      {"PAR1rest", "a Parquet file"},
      {"ARROW1rest", "an Arrow file"},
      {"\x80\x04rest", "a Python pickle"},
      {"\x89HDF\r\n", "an HDF5 file"},
      {std::string("\x40\0\0\0\0\0\0\0{\"w\":", 13), "a safetensors file"},
  };
  for (const auto& [start, name] : cases) EXPECT_EQ(found(start), name);
}

TEST(ForeignFormat, NamesTextThatIsNoJson) {
  EXPECT_EQ(found("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV18\t0-51\n"), "a table of nvidia-smi");
  EXPECT_EQ(found("<?xml version=\"1.0\"?>\n<system>"), "XML");
  EXPECT_EQ(found("<!DOCTYPE html>\n"), "an HTML page");
  EXPECT_EQ(found("2026-01-31 12:00:00 step 1 loss 2.0\n"), "a log");
  EXPECT_EQ(found("[2026-01-31 12:00:00,123] INFO\n"), "a log");
  EXPECT_EQ(found("INFO:root:step\n"), "a log");
  EXPECT_EQ(found("[model]\nhidden = 1\n"), "TOML or INI");
  EXPECT_EQ(found("hidden = 1\n"), "TOML or INI");
  EXPECT_EQ(found("---\nhidden: 1\n"), "YAML");
  EXPECT_EQ(found("hidden: 1\n"), "YAML");
  EXPECT_EQ(found("SwitchName=s0 Nodes=n[0-3]\n"), "a Slurm configuration");
}

TEST(ForeignFormat, LeavesWhatStrataReads) {
  for (const char* start :
       {"", "12\n13\n", "# lengths\n12\n", "length\n5\n", "id,length\n1,5\n", "[1, 2]", "[]", "[true]",
        "{\"length\": 5}", "{\n  \"layers\": 1\n}", "[{\"length\": 5}]", "ContextTokens;GeneratedTokens\n"}) {
    EXPECT_EQ(found(start), "") << start;
  }
}

TEST(ForeignFormat, AReaderOfJsonSaysWhatTheFileIs) {
  const auto path = std::filesystem::temp_directory_path() / ("strata_foreign_" + std::to_string(::getpid()));
  const auto error_of = [&](const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    return test::input_error([&] { JsonDocument::read_file(path.string()); });
  };
  EXPECT_EQ(error_of("\x1f\x8b\x08rest"),
            path.string() + ": found a gzip archive, expected a JSON file (unpack it first)");
  EXPECT_EQ(error_of("\tGPU0\tGPU1\nGPU0\t X \tNV18\n"),
            path.string() +
                ": found a table of nvidia-smi, expected a JSON file (write what it says as "
                "docs/plan-format.md shows)");
  EXPECT_EQ(error_of("layers: 3\n"), path.string() + ": found YAML, expected a JSON file (write it as JSON)");
  EXPECT_NE(error_of("{\"layers\": }").find("line 1, column 12"), std::string::npos)
      << "broken JSON stays broken JSON";
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace strata
