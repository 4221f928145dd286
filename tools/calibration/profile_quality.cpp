// SPDX-License-Identifier: Apache-2.0
#include "tools/calibration/profile_quality.hpp"

#include <algorithm>
#include <string_view>

namespace strata::tools {

ProfileQuality quality_of(const std::vector<FitReport>& fits, std::optional<double> load) {
  ProfileQuality quality{0.0, load};
  for (const std::string_view operation : {"Attention", "AttentionBackward"}) {
    const auto fit = std::find_if(fits.begin(), fits.end(),
                                  [&](const FitReport& each) { return each.operation == operation; });
    if (fit == fits.end() || fit->held_out.count == 0) return {std::nullopt, load};
    quality.held_out_p95 = std::max(*quality.held_out_p95, fit->held_out.p95);
  }
  return quality;
}

}  // namespace strata::tools
