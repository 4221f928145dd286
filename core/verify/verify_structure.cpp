// SPDX-License-Identifier: Apache-2.0
// What must hold before a schedule can be looked at: documents, groups, and one owner for every token.
// Nothing here trusts a value of the wave; what passes can be indexed without further checks.
#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.hpp"
#include "core/verify/verify_detail.hpp"

namespace strata::detail {

namespace {

void verify_documents(const Wave& wave, Findings& findings) {
  if (wave.documents.size() != wave.lengths.size()) {
    findings.add("documents", ".documents",
                 fmt::format("{} documents but {} lengths", wave.documents.size(), wave.lengths.size()));
    return;
  }
  if (wave.documents.empty()) {
    findings.add("documents", ".documents", "the wave has no documents");
    return;
  }
  for (std::size_t i = 0; i < wave.documents.size() && !findings.full(); ++i) {
    const std::int32_t document = wave.documents[i];
    const auto fail = [&](std::string message) {
      findings.add("documents", fmt::format(".documents[{}]", i), std::move(message));
    };
    if (document < 0) fail(fmt::format("document {} is negative", document));
    if (i > 0 && document <= wave.documents[i - 1]) {
      fail(fmt::format("document {} follows {}; they must ascend", document, wave.documents[i - 1]));
    }
    if (wave.lengths[i] < 1 || wave.lengths[i] > kMaxDocumentTokens) {
      fail(fmt::format("document {} has {} tokens, expected 1 to {}", document, wave.lengths[i],
                       kMaxDocumentTokens));
    }
  }
}

std::string group_place(std::size_t group) { return fmt::format(".groups[{}]", group); }

void verify_dimensions(const GroupLayout& group, std::size_t g, Findings& findings) {
  std::int64_t product = 1;
  for (const GridDimension& dimension : group.dims) {
    if (dimension.degree < 1) {
      findings.add("groups", group_place(g),
                   fmt::format("dimension '{}' has degree {}", dimension.name, dimension.degree));
      return;
    }
    product *= dimension.degree;
    if (product > std::numeric_limits<std::int32_t>::max()) break;
  }
  if (product != static_cast<std::int64_t>(group.ranks.size())) {
    findings.add(
        "groups", group_place(g),
        fmt::format("the degrees multiply to {} but the group has {} ranks", product, group.ranks.size()));
  }
}

/// Which group a rank or a document is in; -1: none.
struct Membership {
  std::vector<std::int32_t> of_rank;
  std::vector<std::int32_t> of_document;  ///< by position in the wave
};

void verify_group_ranks(const Wave& wave, std::size_t g, Membership& membership, Findings& findings) {
  const auto fail = [&](std::string message) { findings.add("groups", group_place(g), std::move(message)); };
  for (const std::int32_t rank : wave.groups[g].ranks) {
    if (rank < 0 || rank >= static_cast<std::int32_t>(membership.of_rank.size())) {
      fail(fmt::format("rank {} is not below {}", rank, membership.of_rank.size()));
      continue;
    }
    std::int32_t& group = membership.of_rank[static_cast<std::size_t>(rank)];
    if (group >= 0) fail(fmt::format("rank {} is already in groups[{}]", rank, group));
    group = static_cast<std::int32_t>(g);
  }
}

void verify_group_documents(const Wave& wave, std::size_t g, Membership& membership, Findings& findings) {
  const auto fail = [&](std::string message) { findings.add("groups", group_place(g), std::move(message)); };
  const auto& documents = wave.groups[g].documents;
  for (std::size_t i = 0; i < documents.size() && !findings.full(); ++i) {
    if (i > 0 && documents[i] <= documents[i - 1]) {
      fail(fmt::format("document {} follows {}; they must ascend", documents[i], documents[i - 1]));
    }
    const auto at = std::lower_bound(wave.documents.begin(), wave.documents.end(), documents[i]);
    if (at == wave.documents.end() || *at != documents[i]) {
      fail(fmt::format("document {} is not in the wave", documents[i]));
      continue;
    }
    std::int32_t& group = membership.of_document[static_cast<std::size_t>(at - wave.documents.begin())];
    if (group >= 0) fail(fmt::format("document {} is already in groups[{}]", documents[i], group));
    group = static_cast<std::int32_t>(g);
  }
}

Membership verify_groups(const Wave& wave, Findings& findings) {
  Membership membership{std::vector<std::int32_t>(wave.placement.spans.size(), -1),
                        std::vector<std::int32_t>(wave.documents.size(), -1)};
  for (std::size_t g = 0; g < wave.groups.size() && !findings.full(); ++g) {
    verify_dimensions(wave.groups[g], g, findings);
    verify_group_ranks(wave, g, membership, findings);
    verify_group_documents(wave, g, membership, findings);
  }
  for (std::size_t i = 0; i < wave.documents.size() && !findings.full(); ++i) {
    if (membership.of_document[i] >= 0) continue;
    findings.add("groups", ".groups", fmt::format("document {} is in no group", wave.documents[i]));
  }
  return membership;
}

/// Form of one rank's spans.
void verify_rank_spans(const Wave& wave, const Membership& membership, std::size_t rank, Findings& findings) {
  const auto& spans = wave.placement.spans[rank];
  auto at = wave.documents.begin();  // the document of the span before, or the next one
  for (std::size_t i = 0; i < spans.size() && !findings.full(); ++i) {
    const TokenSpan& span = spans[i];
    const auto fail = [&](std::string message) {
      findings.add("placement", fmt::format(".placement[{}].spans[{}]", rank, i), std::move(message));
    };
    if (at != wave.documents.end() && *at < span.document) ++at;
    if (at == wave.documents.end() || *at != span.document) {
      at = std::lower_bound(wave.documents.begin(), wave.documents.end(), span.document);
    }
    if (at == wave.documents.end() || *at != span.document) {
      fail(fmt::format("document {} is not in the wave", span.document));
      continue;
    }
    const auto document = static_cast<std::size_t>(at - wave.documents.begin());
    if (span.begin < 0 || span.begin >= span.end || span.end > wave.lengths[document]) {
      fail(fmt::format("{} is empty or outside its {} tokens", describe(span.document, span.begin, span.end),
                       wave.lengths[document]));
      continue;
    }
    if (membership.of_document[document] != membership.of_rank[rank]) {
      fail(fmt::format("rank {} is not in groups[{}] of document {}", rank, membership.of_document[document],
                       span.document));
    }
    if (i > 0 && span.document == spans[i - 1].document && span.begin == spans[i - 1].end) {
      fail(fmt::format("{} continues the span before it; they must be one",
                       describe(span.document, span.begin, span.end)));
    } else if (i > 0 && span <= spans[i - 1]) {
      fail(fmt::format("{} is not after the span before it", describe(span.document, span.begin, span.end)));
    }
  }
}

std::string too_many_documents(const std::vector<std::int32_t>& documents, std::int32_t rank_count) {
  const std::int64_t numbers = std::int64_t{documents.back()} - documents.front() + 1;
  if (numbers <= kMaxDocumentRanks / rank_count) return "";
  return fmt::format("document numbers {} to {} on {} ranks, more than {} pairs", documents.front(),
                     documents.back(), rank_count, kMaxDocumentRanks);
}

}  // namespace

void verify_model(const ModelShape& model, Findings& findings) {
  try {
    validate(model, "model");
  } catch (const InputError& error) {
    findings.add("model", "", error.what());
    return;
  }
  if (model.window >= kUnbounded) {
    findings.add("model", "",
                 fmt::format("a window of {} tokens, expected less than {}", model.window, kUnbounded));
  }
}

void verify_structure(const Wave& wave, std::int32_t rank_count, Findings& findings) {
  if (rank_count < 1 || wave.placement.spans.size() != static_cast<std::size_t>(rank_count)) {
    findings.add("placement", ".placement",
                 fmt::format("{} ranks, expected {}", wave.placement.spans.size(), rank_count));
    return;
  }
  verify_documents(wave, findings);
  if (!findings.empty()) return;
  if (std::string many = too_many_documents(wave.documents, rank_count); !many.empty()) {
    findings.add("documents", ".documents", std::move(many));
    return;
  }
  const Membership membership = verify_groups(wave, findings);
  if (!findings.empty()) return;
  for (std::size_t rank = 0; rank < wave.placement.spans.size() && !findings.full(); ++rank) {
    verify_rank_spans(wave, membership, rank, findings);
  }
}

void verify_ownership(const WaveIndex& wave, Findings& findings) {
  for (std::size_t i = 0; i < wave.document_count() && !findings.full(); ++i) {
    const std::int32_t document = wave.document(i);
    const auto unowned = [&](std::int64_t begin, std::int64_t end) {
      findings.add("ownership", ".placement", fmt::format("no rank owns {}", describe(document, begin, end)));
    };
    std::int64_t covered = 0;
    std::int32_t owner = -1;  // of the row before `covered`
    for (const OwnedSpan& piece : wave.owners(i)) {
      if (piece.begin > covered) unowned(covered, piece.begin);
      if (piece.begin < covered) {
        findings.add(
            "ownership", fmt::format(".placement[{}]", piece.rank),
            fmt::format("{}, owned by rank {}, belong to rank {} too",
                        describe(document, piece.begin, std::min(covered, piece.end)), piece.rank, owner));
      }
      if (piece.end > covered) {
        covered = piece.end;
        owner = piece.rank;
      }
    }
    if (covered < wave.length(i)) unowned(covered, wave.length(i));
  }
}

}  // namespace strata::detail

namespace strata {

std::optional<Violation> beyond_limits(const std::vector<std::int32_t>& documents, const ModelShape& model,
                                       std::int32_t rank_count) {
  detail::Findings findings("", 1);
  detail::verify_model(model, findings);
  std::vector<Violation> found = findings.take();
  if (!found.empty()) return found.front();
  std::string many = detail::too_many_documents(documents, rank_count);
  if (many.empty()) return std::nullopt;
  return Violation{"documents", "", std::move(many)};
}

}  // namespace strata
