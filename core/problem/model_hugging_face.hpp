// SPDX-License-Identifier: Apache-2.0
// config.json of the transformers library. What core/problem/model_families.cpp lists is read exactly;
// everything else is refused by name.
#pragma once

#include "core/json/json_document.hpp"
#include "core/problem/model_json.hpp"

namespace strata {

/// Whether the object has keys of such a file and none of Strata's own.
bool is_hugging_face(const JsonValue& value);

/// Throws InputError naming the key that cannot be represented, is missing or contradicts another.
ModelReading read_hugging_face(const JsonValue& value);

}  // namespace strata
