// SPDX-License-Identifier: Apache-2.0
// Whether a sanitizer that needs memory of its own at any time is compiled in: limits on memory then bind it
// and not what is tested.
#pragma once

namespace strata {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace strata
