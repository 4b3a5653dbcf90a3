#include "coordinator/text/unigram_encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "coordinator/text/spm_encoder.h"
#include "coordinator/text/utf8.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr float kUnknownPenalty = 10;
// The search keeps a record for each byte, so a long text is searched in parts that begin at words.
constexpr size_t kPartBytesMax = 1 << 16;

// The end of the part that begins at `begin`; of a word that is longer than a part, the end of a character.
size_t PartEnd(std::string_view text, size_t begin) {
  if (text.size() - begin <= kPartBytesMax) return text.size();
  size_t end = text.rfind(kSpaceMark, begin + kPartBytesMax);
  if (end != std::string_view::npos && end > begin) return end;
  for (end = begin + kPartBytesMax; (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80;) --end;
  return end;
}

}  // namespace

UnigramEncoder::UnigramEncoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  float worst = 0;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& text = vocabulary.tokens[i];
    const TokenType type = vocabulary.types[i];
    // Plain text must not spell control tokens.
    const bool spells = type == TokenType::kNormal || type == TokenType::kUserDefined;
    if (text.empty() || !spells || !std::isfinite(vocabulary.scores[i])) continue;
    pieces_.emplace(text, Piece{static_cast<int32_t>(i), vocabulary.scores[i]});
    piece_bytes_max_ = std::max(piece_bytes_max_, text.size());
    worst = std::min(worst, vocabulary.scores[i]);
  }
  unknown_score_ = worst - kUnknownPenalty;
}

absl::StatusOr<std::unique_ptr<UnigramEncoder>> UnigramEncoder::Create(const Vocabulary& vocabulary) {
  if (vocabulary.unk < 0) return absl::InvalidArgumentError("a unigram vocabulary without an unknown token");
  std::unique_ptr<UnigramEncoder> encoder(new UnigramEncoder(vocabulary));
  BARN_ASSIGN_OR_RETURN(encoder->charsmap_, Charsmap::Create(vocabulary.charsmap));
  return encoder;
}

// Replacements first, then white space: spaces in a row are one, none stands at an end, and each is written U+2581.
std::string UnigramEncoder::Normalized(std::string_view text) const {
  std::string replaced;
  while (!text.empty()) text.remove_prefix(charsmap_.Append(text, replaced));
  std::string out;
  bool space_before = vocabulary_.removes_extra_spaces;  // At the start.
  for (const char byte : replaced) {
    if (byte == ' ') {
      if (!space_before || !vocabulary_.removes_extra_spaces) out += kSpaceMark;
      space_before = true;
      continue;
    }
    out += byte;
    space_before = false;
  }
  while (vocabulary_.removes_extra_spaces && out.ends_with(kSpaceMark)) out.resize(out.size() - kSpaceMark.size());
  if (vocabulary_.puts_space_before && !out.empty()) out.insert(0, kSpaceMark);
  return out;
}

absl::Status UnigramEncoder::Append(std::string_view text, std::vector<int32_t>* ids) const {
  const std::string normalized = Normalized(text);
  for (size_t begin = 0; begin < normalized.size();) {
    const size_t end = PartEnd(normalized, begin);
    AppendBest(std::string_view(normalized).substr(begin, end - begin), ids);
    begin = end;
  }
  return absl::OkStatus();
}

// The best way to each byte, from the left (Viterbi).
void UnigramEncoder::AppendBest(std::string_view text, std::vector<int32_t>* ids) const {
  struct Way {
    double score = -std::numeric_limits<double>::infinity();
    size_t from = 0;
    int32_t id = -1;
  };
  std::vector<Way> best(text.size() + 1);
  best[0].score = 0;
  const auto offer = [&](size_t from, size_t to, double score, int32_t id) {
    if (best[from].score + score > best[to].score) best[to] = {best[from].score + score, from, id};
  };
  for (size_t at = 0; at < text.size();) {
    const size_t character = ReadUtf8(text.substr(at)).bytes;
    bool whole = false;  // The character is a piece.
    for (size_t length = character; length <= std::min(piece_bytes_max_, text.size() - at);
         length += ReadUtf8(text.substr(at + length)).bytes) {
      const auto piece = pieces_.find(text.substr(at, length));
      if (piece != pieces_.end()) {
        offer(at, at + length, piece->second.score, piece->second.id);
        whole = whole || length == character;
      }
      if (at + length == text.size()) break;
    }
    if (!whole) offer(at, at + character, unknown_score_, vocabulary_.unk);
    at += character;
  }
  std::vector<int32_t> backwards;
  for (size_t at = text.size(); at > 0; at = best[at].from) {
    const bool again = best[at].id == vocabulary_.unk && !backwards.empty() && backwards.back() == vocabulary_.unk;
    if (!again) backwards.push_back(best[at].id);
  }
  ids->insert(ids->end(), backwards.rbegin(), backwards.rend());
}

}  // namespace barn
