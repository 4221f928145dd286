// SPDX-License-Identifier: Apache-2.0
#include "tools/read_as.hpp"

#include <iterator>
#include <utility>

#include "core/json/json_writer.hpp"
#include "tools/output.hpp"
#include "tools/read_as_model.hpp"

namespace strata::tools {

ReadAs read_as_plan(const Plan& plan, const std::optional<CostProfile>& profile) {
  ReadAs read;
  read.batch = read_as_batch(plan.batch);
  read.model.emplace();
  read.model->shape = plan.model;
  read.model->source = "the plan";
  read.profile = read_as_profile(plan, profile);
  return read;
}

std::vector<std::string> lines_of(const ReadAs& read) {
  std::vector<std::string> all;
  const auto add = [&](std::vector<std::string> more) {
    std::move(more.begin(), more.end(), std::back_inserter(all));
  };
  if (read.batch) add(lines(*read.batch));
  if (read.model) add(lines_of(*read.model));
  if (read.profile) {
    for (const std::string& line : lines_of(*read.profile)) all.push_back(wrapped(line, 4));
  }
  return all;
}

void write_read_as(JsonWriter& json, const ReadAs& read) {
  json.key("read_as");
  json.open_object(JsonLayout::lines);
  if (read.batch) {
    json.key("batch");
    write_read_as(json, *read.batch);
  }
  if (read.model) {
    json.key("model");
    write_read_as(json, *read.model);
  }
  if (read.profile) {
    json.key("profile");
    write_read_as(json, *read.profile);
  }
  json.close();
}

}  // namespace strata::tools
