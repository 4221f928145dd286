// SPDX-License-Identifier: Apache-2.0
// Tells AddressSanitizer and ThreadSanitizer that the running stack changes; nothing without them.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#define STRATA_HAS_FEATURE(name) __has_feature(name)
#else
#define STRATA_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || STRATA_HAS_FEATURE(address_sanitizer)
#define STRATA_FIBERS_UNDER_ASAN 1
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__) || STRATA_HAS_FEATURE(thread_sanitizer)
#define STRATA_FIBERS_UNDER_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif

namespace strata::kernels::emulator::sanitizers {

inline void* make_fiber() {
#if defined(STRATA_FIBERS_UNDER_TSAN)
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}

inline void destroy_fiber([[maybe_unused]] void* fiber) {
#if defined(STRATA_FIBERS_UNDER_TSAN)
  __tsan_destroy_fiber(fiber);
#endif
}

inline void* current_fiber() {
#if defined(STRATA_FIBERS_UNDER_TSAN)
  return __tsan_get_current_fiber();
#else
  return nullptr;
#endif
}

/// Before the stack changes. `save` is null when the running stack will not be entered again.
inline void start_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* stack_begin,
                         [[maybe_unused]] std::size_t stack_bytes, [[maybe_unused]] void* fiber) {
#if defined(STRATA_FIBERS_UNDER_ASAN)
  __sanitizer_start_switch_fiber(save, stack_begin, stack_bytes);
#endif
#if defined(STRATA_FIBERS_UNDER_TSAN)
  __tsan_switch_to_fiber(fiber, 0);
#endif
}

/// First thing on the entered stack; tells the bounds of the stack left behind where they are known.
inline void finish_switch([[maybe_unused]] void* saved, [[maybe_unused]] const void** left_begin,
                          [[maybe_unused]] std::size_t* left_bytes) {
#if defined(STRATA_FIBERS_UNDER_ASAN)
  __sanitizer_finish_switch_fiber(saved, left_begin, left_bytes);
#endif
}

}  // namespace strata::kernels::emulator::sanitizers
