// SPDX-License-Identifier: Apache-2.0
// Which instruction sets every kernel source is compiled for; included before hwy/foreach_target.h. One
// vector set per generation keeps the build short: on x86-64 the portable baseline, SSE4, AVX2 and AVX-512;
// elsewhere Highway's choice.
#pragma once

#include <hwy/detect_targets.h>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
