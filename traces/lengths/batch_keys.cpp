// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/batch_keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "core/base/check.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

using M = KeyMeaning;

constexpr std::string_view kShare =
    "a share of a pack, cut by the run that recorded it: record the whole pack";
constexpr std::string_view kCopy =
    "which of several ranks recorded the row, so that rows may repeat: keep one of each";
constexpr std::string_view kPaddingId =
    "padding by the id of a token, which may also end a document: give attention_mask or lengths";
constexpr std::string_view kPaddingCount =
    "padding without its place: give lengths, offsets or attention_mask";
constexpr std::string_view kOnePack =
    "rows that are pieces of one pack: write a row a pack, with a list of lengths";
constexpr std::string_view kShares = "shares, not numbers of documents: give counts";
constexpr std::string_view kCount = "copies of a length, or documents of a pack: name copies count";
constexpr std::string_view kCached =
    "tokens of a cache that are attended to and not computed, which a plan has not: give whole lengths";
constexpr std::string_view kMaskShape =
    "a mask of another shape than a number per token: give lengths or offsets";

/// Sources: flash-attention and TransformerEngine (offsets), Megatron and NeMo (packed sequence parameters,
/// seq_start_id), transformers (data collators), TRL, MaxText (segmentation), Mamba (seq_idx), verl and
/// slime.
constexpr std::array kKeys = std::to_array<BatchKey>({
    {"length", M::length},
    {"lengths", M::length},
    {"seq_len", M::length},
    {"seq_lens", M::length},
    {"seqlen", M::length},
    {"seqlens", M::length},
    {"seq_length", M::length},
    {"seq_lengths", M::length},
    {"sequence_length", M::length},
    {"sequence_lengths", M::length},
    {"doc_lens", M::length},
    {"doc_lengths", M::length},
    {"document_lengths", M::length},
    {"num_tokens", M::length},
    {"n_tokens", M::length},
    {"token_count", M::length},
    {"total_lengths", M::free_documents},
    {"input_length", M::pair},
    {"output_length", M::pair},
    {"ContextTokens", M::pair},
    {"GeneratedTokens", M::pair},
    {"num_prefill_tokens", M::pair},
    {"num_decode_tokens", M::pair},
    {"packs", M::packs},
    {"documents", M::documents},
    {"cu_seqlens", M::offsets},
    {"cu_seqlens_q", M::offsets},
    {"cu_seqlens_k", M::offsets},
    {"cu_seqlens_kv", M::offsets},
    {"cu_seqlen", M::offsets},
    {"cu_seqlen_q", M::offsets},
    {"cu_seqlen_k", M::offsets},
    {"cu_seqlen_kv", M::offsets},
    {"cu_seq_lens", M::offsets},
    {"cu_seq_lens_q", M::offsets},
    {"cu_seq_lens_k", M::offsets},
    {"cu_seq_lens_kv", M::offsets},
    {"cu_seq_len", M::offsets},
    {"cum_seqlens", M::offsets},
    {"cum_seq_lens", M::offsets},
    {"cum_seqlens_q", M::offsets},
    {"cum_seqlens_k", M::offsets},
    {"cumulative_seqlens", M::offsets},
    {"cumulative_seqlens_q", M::offsets},
    {"cumulative_seqlens_k", M::offsets},
    {"cumulative_seqlens_kv", M::offsets},
    {"cumulative_seq_lens", M::offsets},
    {"cumulative_seq_lengths", M::offsets},
    {"cumulative_sequence_lengths", M::offsets},
    {"cumulative_lengths", M::offsets},
    {"cu_lens", M::offsets},
    {"cu_lengths", M::offsets},
    {"cu_doc_lens", M::offsets},
    {"doc_offsets", M::offsets},
    {"document_offsets", M::offsets},
    {"seq_offsets", M::offsets},
    {"sequence_offsets", M::offsets},
    {"actual_seq_qlen", M::refused, "offsets or lengths by version: name them cu_seqlens or seqlens"},
    {"actual_seq_kvlen", M::refused, "offsets or lengths by version: name them cu_seqlens or seqlens"},
    {"actual_seq_len", M::refused, "offsets or lengths by version: name them cu_seqlens or seqlens"},
    {"cu_seqlens_unpadded", M::real_offsets},
    {"cu_seqlens_q_unpadded", M::real_offsets},
    {"cu_seqlens_kv_unpadded", M::real_offsets},
    {"cu_seqlens_padded", M::padded_offsets},
    {"cu_seqlens_q_padded", M::padded_offsets},
    {"cu_seqlens_k_padded", M::padded_offsets},
    {"cu_seqlens_kv_padded", M::padded_offsets},
    {"cu_seqlens_padded_q", M::padded_offsets},
    {"cu_seqlens_padded_k", M::padded_offsets},
    {"cu_seqlens_padded_kv", M::padded_offsets},
    {"padded_cu_seqlens", M::padded_offsets},
    {"cu_seq_lens_padded", M::padded_offsets},
    {"cu_seq_lens_q_padded", M::padded_offsets},
    {"cu_seq_lens_k_padded", M::padded_offsets},
    {"padded_seqlens", M::padded_lengths},
    {"padded_seq_lens", M::padded_lengths},
    {"padded_lengths", M::padded_lengths},
    {"seqlens_padded", M::padded_lengths},
    {"seq_lens_padded", M::padded_lengths},
    {"seq_lengths_padded", M::padded_lengths},
    {"cu_seqlens_argmin", M::fill_begin},
    {"cu_seqlens_unpadded_argmin", M::fill_begin},
    {"cu_seqlens_padded_argmin", M::fill_begin},
    {"max_seqlen", M::longest},
    {"max_seqlen_q", M::longest},
    {"max_seqlen_k", M::longest},
    {"max_seqlen_kv", M::longest},
    {"max_seq_len", M::longest},
    {"max_length_q", M::longest},
    {"max_length_k", M::longest},
    {"max_length_kv", M::longest},
    {"seq_start_id", M::starts},
    {"seq_start_ids", M::starts},
    {"seq_starts", M::starts},
    {"sequence_start_id", M::starts},
    {"doc_starts", M::starts},
    {"document_starts", M::starts},
    {"position_ids", M::positions},
    {"position_id", M::positions},
    {"positions", M::positions},
    {"pos_ids", M::positions},
    {"input_positions", M::positions},
    {"inputs_position", M::positions},
    {"document_ids", M::numbers},
    {"document_id", M::numbers},
    {"doc_id", M::numbers},
    {"seq_idx", M::numbers},
    {"seq_ids", M::numbers},
    {"sequence_ids", M::numbers},
    {"sequence_id", M::numbers},
    {"segment_ids", M::masked_numbers},
    {"segment_id", M::masked_numbers},
    {"decoder_segment_ids", M::masked_numbers},
    {"inputs_segmentation", M::masked_numbers},
    {"attention_mask", M::masked_numbers},
    {"doc_ids", M::labels},
    {"input_ids", M::tokens},
    {"loss_mask", M::token_flags},
    {"completion_mask", M::token_flags},
    {"assistant_masks", M::token_flags},
    {"response_mask", M::token_flags},
    {"special_tokens_mask", M::token_flags},
    {"step", M::step},
    {"global_step", M::step},
    {"train_step", M::step},
    {"iteration", M::step},
    {"batch", M::step},
    {"micro_batch", M::row},
    {"microbatch", M::row},
    {"micro_batch_id", M::row},
    {"microbatch_id", M::row},
    {"micro_step", M::row},
    {"dp_rank", M::data_rank},
    {"data_parallel_rank", M::data_rank},
    {"measured_ms", M::measured},
    {"count", M::copies},
    {"counts", M::copies},
    {"frequency", M::copies},
    {"freq", M::copies},
    {"occurrences", M::copies},
    {"multiplicity", M::copies},
    {"n_docs", M::document_count},
    {"num_docs", M::document_count},
    {"num_documents", M::document_count},
    {"doc_count", M::document_count},
    {"document_count", M::document_count},
    {"n_seqs", M::document_count},
    {"num_seqs", M::document_count},
    {"num_sequences", M::document_count},
    {"n_samples", M::document_count},
    {"num_samples", M::document_count},
    {"cp_rank", M::refused, kShare},
    {"context_parallel_rank", M::refused, kShare},
    {"sp_rank", M::refused, kShare},
    {"sequence_parallel_rank", M::refused, kShare},
    {"tp_rank", M::refused, kCopy},
    {"pp_rank", M::refused, kCopy},
    {"ep_rank", M::refused, kCopy},
    {"rank", M::refused, kCopy},
    {"global_rank", M::refused, kCopy},
    {"local_rank", M::refused, kCopy},
    {"pad_token_id", M::refused, kPaddingId},
    {"pad_id", M::refused, kPaddingId},
    {"padding_id", M::refused, kPaddingId},
    {"padding", M::refused, kPaddingCount},
    {"padding_mask", M::refused, "a mask that is 0 or 1 where it pads, by program: give attention_mask"},
    {"pad_len", M::refused, kPaddingCount},
    {"pad_length", M::refused, kPaddingCount},
    {"num_padding", M::refused, kPaddingCount},
    {"num_pad_tokens", M::refused, kPaddingCount},
    {"pack_id", M::refused, kOnePack},
    {"pack_idx", M::refused, kOnePack},
    {"bin_id", M::refused, kOnePack},
    {"weight", M::refused, kShares},
    {"weights", M::refused, kShares},
    {"probability", M::refused, kShares},
    {"fraction", M::refused, kShares},
    {"percent", M::refused, kShares},
    {"document_mask", M::refused, kMaskShape},
    {"block_mask", M::refused, kMaskShape},
    {"attn_mask", M::refused, kMaskShape},
    {"kv_len", M::refused, kCached},
    {"kv_lens", M::refused, kCached},
    {"context_len", M::refused, kCached},
    {"context_lens", M::refused, kCached},
    {"prefix_len", M::refused, kCached},
    {"prefix_lens", M::refused, kCached},
    {"cached_tokens", M::refused, kCached},
    {"num_cached_tokens", M::refused, kCached},
    {"sample", M::harmless},
    {"sample_id", M::harmless},
    {"id", M::harmless},
    {"hash_ids", M::harmless},
    {"text", M::harmless},
    {"prompt", M::harmless},
    {"labels", M::harmless},
    {"first_doc_is_partial", M::harmless},
    {"last_doc_is_partial", M::harmless},
    {"response_length", M::parts},
    {"response_lengths", M::parts},
    {"prompt_length", M::parts},
    {"prompt_lengths", M::parts},
    {"num_total_tokens", M::total},
    {"timestamp", M::harmless},
});

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

/// "seqStart_id" -> seq, start, id.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words(1);
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool letter = is_upper(name[i]) || (name[i] >= 'a' && name[i] <= 'z');
    const bool begins = i > 0 && is_upper(name[i]) && !is_upper(name[i - 1]);
    if ((!letter || begins) && !words.back().empty()) words.emplace_back();
    if (letter) words.back() += lower(name[i]);
  }
  return words;
}

constexpr std::array<std::string_view, 42> kTelling = {
    "cu",         "cum",      "cumulative",   "cumsum",   "offset",    "offsets",  "indptr",
    "pad",        "pads",     "padded",       "unpadded", "padding",   "rank",     "ranks",
    "segment",    "segments", "segmentation", "position", "positions", "boundary", "boundaries",
    "border",     "borders",  "mask",         "masks",    "micro",     "packed",   "packing",
    "microbatch", "seqlen",   "seqlens",      "seqidx",   "cp",        "dp",       "tp",
    "pp",         "sp",       "microbatches", "unpad",    "ulysses",   "splits",   "cuseqlens"};
/// Words that tell only of a list: where pieces are, and what the pieces are.
constexpr std::array<std::string_view, 23> kPieces = {
    "span",   "spans",  "slice",  "slices",    "chunk", "chunks", "starts", "ends",
    "begins", "split",  "lens",   "segs",      "seps",  "break",  "breaks", "separators",
    "edges",  "bounds", "ranges", "intervals", "ptr",   "ptrs",   "pieces"};
constexpr std::array<std::string_view, 22> kOfPacks = {
    "seq",    "seqs",    "sequence", "sequences", "doc",    "docs", "document", "documents",
    "sample", "samples", "pack",     "eos",       "eod",    "bos",  "sub",      "item",
    "kv",     "cache",   "cached",   "context",   "prefix", "past"};
constexpr std::array<std::string_view, 22> kPlaces = {
    "start", "begin",  "end",    "id",      "ids",    "idx",     "index", "indices",
    "len",   "lens",   "length", "lengths", "number", "numbers", "size",  "sizes",
    "token", "tokens", "count",  "counts",  "at",     "places"};

/// Between the numbers of a list that is written as text, and around them.
constexpr std::string_view kBetween = ",; \t|", kAround = ",; \t|[](){}";

/// Whether a shell takes the name as it is.
bool is_plain(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || c == '-' || c == '.';
  });
}

template <std::size_t Count>
bool has_any(const std::vector<std::string>& words, const std::array<std::string_view, Count>& list) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  });
}

}  // namespace

KeyTreatment BatchKey::treatment() const {
  if (meaning == KeyMeaning::refused) return KeyTreatment::refused;
  return meaning == KeyMeaning::harmless ? KeyTreatment::harmless : KeyTreatment::used;
}

std::span<const BatchKey> batch_keys() { return kKeys; }

const BatchKey* find_batch_key(std::string_view name) {
  for (const BatchKey& key : kKeys) {
    if (same_name(key.name, name)) return &key;
  }
  return nullptr;
}

bool looks_meaningful(std::string_view name, bool is_list) {
  const std::vector<std::string> words = words_of(name);
  if (has_any(words, kTelling)) return true;
  return is_list && (has_any(words, kPieces) || (has_any(words, kOfPacks) && has_any(words, kPlaces)));
}

void refuse_key(const std::string& where, std::string_view name, std::string_view outer) {
  const BatchKey* key = find_batch_key(name);
  const bool count = key != nullptr && key->meaning == KeyMeaning::document_count;
  std::string_view why = count ? kCount : key != nullptr ? key->why : "";
  std::string remedy = "with its name";
  if (!why.empty()) remedy = name;
  if (!outer.empty()) remedy = is_plain(outer) ? outer : "with the name of the key around it";
  if (why.empty()) why = "which may carry borders, padding or ranks";
  throw InputError(where, fmt::format("the key {}, {}", quoted_excerpt(name), why),
                   "a key that is understood, or --ignore-keys " + remedy);
}

bool is_list_text(std::string_view text) {
  text = trimmed(text);
  if (text.empty()) return false;
  if (text.front() == '[' || text.front() == '(' || text.front() == '{') return true;
  const bool several = text.find_first_of(kBetween) != std::string_view::npos;
  return several && numbers_in_text(text).has_value();
}

std::optional<std::vector<std::int64_t>> numbers_in_text(std::string_view text) {
  std::vector<std::int64_t> numbers;
  while (true) {
    const std::size_t begin = text.find_first_not_of(kAround);
    if (begin == std::string_view::npos) return numbers;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kAround));
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
    numbers.push_back(number);
    text.remove_prefix(word.size());
  }
}

std::optional<std::vector<std::int64_t>> documents_spelled(const std::vector<std::int64_t>& numbers,
                                                           std::int64_t tokens) {
  if (numbers.size() < 2) return std::nullopt;
  std::vector<std::int64_t> between;
  std::int64_t sum = 0, last = 0;
  bool rises = true;
  for (const std::int64_t number : numbers) {
    if (number < 0 || number > tokens) return std::nullopt;
    sum = std::min(sum + number, tokens + 1);
    rises &= number >= last;
    between.push_back(number - last);
    last = number;
  }
  std::vector<std::int64_t> documents = numbers;
  if (sum != tokens && rises && last == tokens) documents = between;
  if (sum != tokens && documents == numbers) return std::nullopt;
  std::erase(documents, 0);
  return documents;
}

}  // namespace strata
