// SPDX-License-Identifier: Apache-2.0
// Whether a sanitizer that needs memory of its own is compiled in. Limits on memory then bind the sanitizer
// and not what is tested.
#pragma once

namespace strata {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace strata
