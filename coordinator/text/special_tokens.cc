#include "coordinator/text/special_tokens.h"

#include <map>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace barn {
namespace {

using TextSet = absl::flat_hash_set<std::string_view>;

// Texts after which a model of some family has said all: end of turn, message, text or call.
const TextSet& EndTexts() {
  static const auto* texts = new TextSet{
      "<|eot_id|>",
      "<|im_end|>",
      "<|end|>",
      "<|return|>",
      "<|call|>",
      "<|flush|>",
      "<|calls|>",
      "</s>",
      "<|eom_id|>",
      "<EOT>",
      "_<EOT>",
      "[EOT]",
      "[EOS]",
      "<end_of_turn>",
      "<turn|>",
      "<|eos|>",
      "<|endoftext|>",
      "<|end_of_text|>",
      "<end_of_utterance>",
      "<｜end▁of▁sentence｜>",
  };
  return *texts;
}

// Marks between files in code models; a completion ends there too.
const TextSet& FileTexts() {
  static const auto* texts = new TextSet{
      "<|fim_pad|>",   "<fim-pad>",  "<fim_pad>", "<PAD>",      "[PAD]",        "<|fim_repo|>",
      "<|repo_name|>", "<fim-repo>", "<REPO>",    "<reponame>", "<|file_sep|>",
  };
  return *texts;
}

// Fill-in-the-middle marks: control tokens, but not an end.
const TextSet& MiddleTexts() {
  static const auto* texts = new TextSet{
      "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
      "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>",  "<SUF>", "▁<SUF>", "<|code_suffix|>",
      "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>",   "<MID>", "▁<MID>", "<|code_middle|>",
  };
  return *texts;
}

bool IsSpecial(TokenType type) { return type == TokenType::kControl || type == TokenType::kUnknown; }

// Phi-3's tokenizer swallows white space after its special tokens, but not after these.
bool Phi3StripsAfter(std::string_view token) { return token != "<unk>" && token != "<s>" && token != "<|endoftext|>"; }

size_t StartKey(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  return first << 8 | static_cast<uint8_t>(text[text.size() > 1 ? 1 : 0]);
}

}  // namespace

void MarkKnownTokens(Vocabulary& vocabulary) {
  for (int32_t id : {vocabulary.eos, vocabulary.eot}) {
    if (id >= 0) vocabulary.end_of_generation.insert(id);
  }
  int32_t end_of_message = -1;
  bool has_return = false;
  bool has_call = false;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& text = vocabulary.tokens[i];
    const auto id = static_cast<int32_t>(i);
    const bool ends = EndTexts().contains(text) || FileTexts().contains(text);
    if (ends) vocabulary.end_of_generation.insert(id);
    if (ends || MiddleTexts().contains(text)) vocabulary.types[i] = TokenType::kControl;
    if (text == "<|end|>") end_of_message = id;
    has_return |= text == "<|return|>";
    has_call |= text == "<|call|>";
  }
  // gpt-oss closes each message of an answer (its thoughts first) by <|end|>; only <|return|> and <|call|> end the
  // answer.
  if (end_of_message >= 0 && has_return && has_call) vocabulary.end_of_generation.erase(end_of_message);
}

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) {
  const std::string name = absl::AsciiStrToLower(vocabulary.model_name);
  const bool is_phi3 = absl::StrContains(name, "phi-3") || absl::StrContains(name, "phi3");
  std::map<size_t, LengthClass, std::greater<>> classes;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const TokenType type = vocabulary.types[i];
    const std::string_view text = vocabulary.tokens[i];
    const bool user_defined = type == TokenType::kUserDefined;
    if (text.empty() || (!user_defined && !IsSpecial(type))) continue;
    LengthClass& tokens = classes[text.size()];
    if (tokens.starts == nullptr) tokens.starts = std::make_unique<std::bitset<65536>>();
    tokens.length_bytes = text.size();
    tokens.starts->set(StartKey(text));
    tokens.has_user_defined |= user_defined;
    tokens.entries.try_emplace(text, Entry{static_cast<int32_t>(i), user_defined, is_phi3 && Phi3StripsAfter(text)});
  }
  for (auto& [length, tokens] : classes) classes_.push_back(std::move(tokens));
}

// Appends the fragments of `text` to `out`. Returns false, and appends nothing, if no token of this length is in it.
bool SpecialTokens::SplitFragment(const LengthClass& tokens, bool parse_special, std::string_view text,
                                  std::vector<Fragment>& out) {
  size_t begin = 0;  // Of the text since the last token.
  bool found = false;
  for (size_t at = 0; at + tokens.length_bytes <= text.size();) {
    const std::string_view here = text.substr(at, tokens.length_bytes);
    if (!tokens.starts->test(StartKey(here))) {
      ++at;
      continue;
    }
    const auto entry = tokens.entries.find(here);
    if (entry == tokens.entries.end() || (!parse_special && !entry->second.user_defined)) {
      ++at;
      continue;
    }
    found = true;
    if (at > begin) out.push_back({text.substr(begin, at - begin)});
    out.push_back({here, entry->second.id});
    at += tokens.length_bytes;
    while (entry->second.strips_right && at < text.size() && absl::ascii_isspace(text[at])) ++at;
    begin = at;
  }
  if (found && begin < text.size()) out.push_back({text.substr(begin)});
  return found;
}

std::vector<Fragment> SpecialTokens::Split(std::string_view text, bool parse_special) const {
  std::vector<Fragment> fragments;
  if (!text.empty()) fragments.push_back({text});
  for (const LengthClass& tokens : classes_) {
    if (!parse_special && !tokens.has_user_defined) continue;
    std::vector<Fragment> finer;
    bool changed = false;
    for (const Fragment& fragment : fragments) {
      const bool split = fragment.token < 0 && fragment.text.size() >= tokens.length_bytes &&
                         SplitFragment(tokens, parse_special, fragment.text, finer);
      changed |= split;
      if (!split) finer.push_back(fragment);
    }
    if (changed) fragments = std::move(finer);
  }
  return fragments;
}

}  // namespace barn
