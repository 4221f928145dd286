// SPDX-License-Identifier: Apache-2.0
// One visitor out of a lambda for each alternative of a variant.
#pragma once

namespace strata {

template <typename... Lambdas>
struct Overloaded : Lambdas... {
  using Lambdas::operator()...;
};
template <typename... Lambdas>
Overloaded(Lambdas...) -> Overloaded<Lambdas...>;

}  // namespace strata
