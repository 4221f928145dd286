// SPDX-License-Identifier: Apache-2.0
// What kind of device a topology means: names are all that it says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/problem/topology.hpp"

namespace strata {

/// The lower-case words (letters and digits) that say what a device is. They are those of its name behind the
/// last dot. Where these only count devices ("gpu3", "device0") the topology's name says it for all of them.
std::vector<std::string> device_words(const Topology& topology, std::int32_t device);

/// Whether the words match `patterns`: "h100" is the word h100 with or without a number behind it, "h100*" a
/// word that begins so, and with "!pcie" no word may match pcie.
bool words_match(const std::vector<std::string>& words, const std::vector<std::string>& patterns);

/// Whether a device is a CPU. It is one when it is named so, as the devices of the shorthand cpu: are.
bool is_cpu(const Topology& topology, std::int32_t device);

}  // namespace strata
