// SPDX-License-Identifier: Apache-2.0
// Checks the source tree itself: layering by include path, lengths, banned words.
#include <gtest/gtest.h>
