// SPDX-License-Identifier: Apache-2.0
// Profiles: interpolation between grid points, honesty outside them, the file form there and back, and every
// way a file can be wrong with the line that says so.
#include "cost_models/profile/cost_profile.hpp"

#include <gtest/gtest.h>

#include <rapidcheck.h>
#include <functional>

#include "core/base/check.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

AttentionTable table() {
  AttentionTable made = unit_table(Pass::forward);
  made.full.query_lengths = {64, 128};
  made.full.key_lengths = {64, 256};
  made.full.ns_per_pair = {8, 4, 6, 2};
  made.diagonal_lengths = {16, 64};
  made.diagonal_ns_per_pair = {10, 4};
  return made;
}

TEST(ProfileLookup, GridPointsAreExact) {
  EXPECT_EQ(full_ns_per_pair(table(), 64, 64).value, 8);
  EXPECT_EQ(full_ns_per_pair(table(), 64, 256).value, 4);
  EXPECT_EQ(full_ns_per_pair(table(), 128, 64).value, 6);
  EXPECT_EQ(full_ns_per_pair(table(), 128, 256).value, 2);
  EXPECT_FALSE(full_ns_per_pair(table(), 128, 256).extrapolated);
}

TEST(ProfileLookup, BetweenPointsItIsLinearInOctaves) {
  // 128 is half way from 64 to 256 in octaves; 96 half way from 64 to 128 (linear inside an octave).
  EXPECT_EQ(full_ns_per_pair(table(), 64, 128).value, 6);
  EXPECT_EQ(full_ns_per_pair(table(), 96, 64).value, 7);
  EXPECT_EQ(full_ns_per_pair(table(), 96, 128).value, 5);
  EXPECT_EQ(diagonal_ns_per_pair(table(), 32).value, 7);
  // 192 is 1.5 octaves above 64, of 2: 8 - 4 x 0.75.
  EXPECT_EQ(full_ns_per_pair(table(), 64, 192).value, 5);
}

TEST(ProfileLookup, OutsideItKeepsTheNearestValueAndSaysSo) {
  EXPECT_EQ(full_ns_per_pair(table(), 1, 64).value, 8);
  EXPECT_TRUE(full_ns_per_pair(table(), 1, 64).extrapolated);
  EXPECT_EQ(full_ns_per_pair(table(), 4096, 100000).value, 2);
  EXPECT_TRUE(full_ns_per_pair(table(), 100, 257).extrapolated);
  EXPECT_TRUE(diagonal_ns_per_pair(table(), 15).extrapolated);
  EXPECT_FALSE(diagonal_ns_per_pair(table(), 16).extrapolated);
}

TEST(ProfileLookup, NoLookupIsBelowTheBestEntryOrAboveTheWorst) {
  rc::check([] {
    const auto q = *rc::gen::inRange<std::int64_t>(1, 1000);
    const auto k = *rc::gen::inRange<std::int64_t>(1, 1000);
    const AttentionTable made = table();
    RC_ASSERT(full_ns_per_pair(made, q, k).value >= best_ns_per_pair(made));
    RC_ASSERT(full_ns_per_pair(made, q, k).value <= 8);
    RC_ASSERT(diagonal_ns_per_pair(made, q).value >= best_ns_per_pair(made));
    RC_ASSERT(diagonal_ns_per_pair(made, q).value <= 10);
  });
}

TEST(ProfileLookup, TheNearestTableStandsInForAMissingOne) {
  const CostProfile cpu = default_profile("cpu");
  const auto exact = find_attention_table(cpu, Pass::backward, ElementType::bf16, 128, 128);
  EXPECT_FALSE(exact.extrapolated);
  EXPECT_EQ(exact.table->head_dim, 128);
  EXPECT_EQ(exact.table->pass, Pass::backward);
  EXPECT_EQ(exact.scale, 1);
  const auto near = find_attention_table(cpu, Pass::forward, ElementType::f32, 80, 80);
  EXPECT_TRUE(near.extrapolated);
  EXPECT_EQ(near.table->head_dim, 64);
  EXPECT_EQ(near.scale, 1.25);
  const CostProfile gpu = default_profile("h100");
  const auto other_type = find_attention_table(gpu, Pass::forward, ElementType::f32, 128, 128);
  EXPECT_TRUE(other_type.extrapolated);
  EXPECT_EQ(other_type.table->element_type, ElementType::bf16);
  EXPECT_FALSE(find_attention_table(gpu, Pass::forward, ElementType::f16, 128, 128).extrapolated);
}

TEST(ProfileLookup, ATableOfTheSameSizeStandsInForAnotherSixteenBitType) {
  CostProfile profile = default_profile("cpu");
  std::erase_if(profile.attention,
                [](const AttentionTable& table) { return table.element_type == ElementType::f16; });
  const auto stand_in = find_attention_table(profile, Pass::backward, ElementType::f16, 128, 128);
  EXPECT_TRUE(stand_in.extrapolated);
  EXPECT_EQ(stand_in.table->element_type, ElementType::bf16);
  EXPECT_EQ(stand_in.table->head_dim, 128);
  EXPECT_EQ(stand_in.scale, 1);
}

TEST(ProfileFile, ReadsBackWhatItWroteByteForByte) {
  for (const CostProfile& profile : {default_profile("cpu"), default_profile("h100"), unit_profile()}) {
    const std::string text = profile_text(profile);
    const CostProfile read = read_profile(text, "profile.json");
    EXPECT_EQ(read, profile);
    EXPECT_EQ(profile_text(read), text);
  }
}

TEST(ProfileFile, ShippedProfilesSayThatTheyAreUnmeasured) {
  for (const char* name : {"cpu", "h100"}) {
    const CostProfile profile = default_profile(name);
    EXPECT_NO_THROW(validate(profile, name));
    EXPECT_FALSE(profile.provenance.measured);
    EXPECT_EQ(unmeasured_note(profile), " (unmeasured profile " + std::string(name) + ")");
    EXPECT_EQ(profile.name, name);
  }
  EXPECT_THROW(default_profile("abacus"), InputError);
}

CostProfile measured_profile() {
  CostProfile profile = unit_profile();
  profile.provenance.device = "a clock";
  profile.provenance.date = "2026-11-21";
  profile.provenance.measured = true;
  profile.provenance.samples = 12;
  profile.provenance.samples_digest = "0123456789abcdef0123456789abcdef";
  profile.provenance.quality = ProfileQuality{0.07, 0.5};
  return profile;
}

TEST(ProfileFile, AMeasuredProfileSaysHowWellItPredicts) {
  CostProfile profile = measured_profile();
  EXPECT_EQ(read_profile(profile_text(profile), "p.json"), profile);
  EXPECT_EQ(provenance_label(profile), "measured");
  EXPECT_EQ(unmeasured_note(profile), "");
  profile.provenance.quality->held_out_p95 = 0.5;
  EXPECT_EQ(provenance_label(profile), "measured");
  profile.provenance.quality->held_out_p95 = 11.42;
  EXPECT_EQ(provenance_label(profile), "measured, poor");
  EXPECT_EQ(unmeasured_note(profile), " (measured, poor profile unit)");
  profile.provenance.quality = ProfileQuality{std::nullopt, std::nullopt};
  EXPECT_EQ(read_profile(profile_text(profile), "p.json"), profile) << "nothing held out, load not known";
  EXPECT_EQ(provenance_label(profile), "measured, poor");
  EXPECT_EQ(provenance_label(unit_profile()), "unmeasured");
}

TEST(ProfileFile, AClaimOfHavingMeasuredNeedsDeviceDateSamplesAndQuality) {
  const auto refused = [](const std::function<void(ProfileProvenance&)>& forge) {
    CostProfile profile = measured_profile();
    forge(profile.provenance);
    try {
      read_profile(profile_text(profile), "p.json");
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string because = ", because measured is true";
  EXPECT_EQ(
      refused([](ProfileProvenance& p) { p.device.clear(); }),
      "p.json: provenance.device: found an empty text, expected the device that was measured" + because);
  for (const char* date :
       {"", "yesterday", "2026-1-21", "2026/11/21", "2026-13-41", "2026-00-10", "2026-11-31", "2026-02-29"}) {
    EXPECT_EQ(refused([&](ProfileProvenance& p) { p.date = date; }),
              "p.json: provenance.date: found '" + std::string(date) +
                  "', expected a date such as 2026-11-21" + because);
  }
  EXPECT_EQ(refused([](ProfileProvenance& p) { p.samples = 0; }),
            "p.json: provenance.samples.count: found 0, expected at least 1" + because);
  EXPECT_EQ(refused([](ProfileProvenance& p) { p.samples_digest.clear(); }),
            "p.json: provenance.samples.digest: found '', expected 32 hexadecimal digits" + because);
  EXPECT_EQ(
      refused([](ProfileProvenance& p) { p.quality.reset(); }),
      "p.json: provenance.quality: found null, expected the error on held-out measurements and the load" +
          because);
}

TEST(ProfileFile, CoversWhatItsTablesHold) {
  for (const char* name : {"cpu", "h100"}) {
    const CostProfile profile = default_profile(name);
    const ProfileCoverage tables = table_coverage(profile.attention);
    EXPECT_EQ(profile.covers.element_types, tables.element_types) << name;
    EXPECT_EQ(profile.covers.head_dims, (std::vector<std::int32_t>{64, 96, 128, 192, 256})) << name;
  }
  EXPECT_FALSE(covers_type(default_profile("h100"), ElementType::f32));
  EXPECT_TRUE(covers_type(default_profile("cpu"), ElementType::f32));
}

/// The message for the unit profile's text with `from` replaced by `to`.
std::string complaint(const std::string& from, const std::string& to) {
  std::string text = profile_text(unit_profile());
  const auto place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  text.replace(place, from.size(), to);
  try {
    read_profile(text, "p.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ProfileFile, EveryMistakeIsNamed) {
  const auto says = [](const std::string& message, const std::string& words) {
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  says(complaint("\"format_version\": 2", "\"format_version\": 3"),
       "found 3, expected 2, the only profile format");
  says(complaint("\"format_version\": 2", "\"format_version\": 1"),
       "found format version 1, expected format version 2: calibrate again");
  says(complaint("\"head_dims\": [1]", "\"head_dims\": [1,2]"), "covers.head_dims: found ");
  says(complaint("\"element_types\": [\"f32\"]", "\"element_types\": [\"bf16\"]"),
       "covers.element_types: found ");
  says(complaint("\"devices\": [\"unit\"]", "\"devices\": []"), "covers.devices: found no pattern");
  says(complaint("\"devices\": [\"unit\"]", "\"devices\": [\"*\"]"), "covers.devices[0]: found '*'");
  says(complaint("\"threads\": 1", "\"thread\": 1"), "thread");
  says(complaint("\"measured\": false", "\"measured\": 0"), "provenance.measured");
  says(complaint("\"launch_ns\": 0", "\"launch_ns\": -1"), "launch_ns");
  says(complaint("\"head_dim\": 1", "\"head_dim\": 99999999999"), "attention[0].head_dim");
  says(complaint("\"forward\"", "\"sideways\""), "attention[0].pass");
  says(complaint("\"forward\"", "\"backward\""), "out of order or given twice");
  says(complaint("[1,1048576]", "[1048576,1]"), "ascending");
  says(complaint("[1,1,1,1]", "[1,1,1]"), "3 values");
  says(complaint("[1,1,1,1]", "[1,1,0,1]"), "times above 0");
  says(complaint("\"bytes_per_second\":1000000000", "\"bytes_per_second\":0"), "rows.copy.bytes_per_second");
  says(complaint("\"linear_flops_per_second\": 1000000000", "\"linear_flops_per_second\": NaN"), "p.json");
  says(complaint("\"chunk_bytes\"", "\"chunk_byte\""), "chunk_byte");
  says(complaint("\"memory_bytes_per_second\": 0", "\"memory_bytes_per_second\": 1e18"),
       "p.json: memory_bytes_per_second: found 1e+18, expected at most 1e+17");
  says(complaint("\"name\"", "\"exchanges\": [], \"name\""), "p.json: found samples, as strata calibrate");
}

TEST(ProfileFile, TablesGivenTwiceAreRefused) {
  CostProfile profile = unit_profile();
  profile.attention.push_back(profile.attention.back());
  EXPECT_THROW(validate(profile, "p"), InputError);
}

TEST(ProfileFile, APassWithoutTablesIsRefused) {
  CostProfile profile = unit_profile();
  profile.attention.pop_back();
  try {
    validate(profile, "p");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "p: attention: found no backward table, expected at least one table per pass");
  }
}

}  // namespace
}  // namespace strata
