#include "coordinator/text/tools/tagged_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "coordinator/text/tools/marker_search.h"

namespace barn {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

bool IsPrefix(std::string_view prefix, std::string_view text) { return text.substr(0, prefix.size()) == prefix; }

enum class Guess { kNo, kMaybe, kYes };

// Whether a text that begins with '{' may be a call: its first key tells.
Guess BareCall(std::string_view text) {
  constexpr std::array<std::string_view, 6> kKeys = {"name", "type", "function", "id", "parameters", "arguments"};
  if (text.empty()) return Guess::kMaybe;
  if (text[0] != '{') return Guess::kNo;
  const size_t quote = text.find_first_not_of(kSpace, 1);
  if (quote == text.npos) return Guess::kMaybe;
  if (text[quote] != '"') return Guess::kNo;
  const std::string_view rest = text.substr(quote + 1);
  const size_t end = rest.find('"');
  for (const std::string_view key : kKeys) {
    if (end == rest.npos ? IsPrefix(rest, key) : rest.substr(0, end) == key) {
      return end == rest.npos ? Guess::kMaybe : Guess::kYes;
    }
  }
  return Guess::kNo;
}

}  // namespace

TaggedParser::TaggedParser(const AnswerFormat& format, AnswerParserOptions options)
    : syntax_(SyntaxOf(format.family)),
      family_(format.family),
      think_begin_(format.think_begin),
      think_end_(format.think_end),
      options_(std::move(options)),
      state_(options_.in_reasoning && !think_end_.empty() ? State::kReasoning : State::kStart),
      trim_(state_ == State::kReasoning) {
  if (!options_.tools.empty()) content_markers_ = syntax_.begin;
  content_markers_.insert(content_markers_.end(), syntax_.hidden.begin(), syntax_.hidden.end());
}

std::vector<AnswerPart> TaggedParser::Push(std::string_view text) {
  std::vector<AnswerPart> parts;
  if (ended_) return parts;
  held_ += text;
  Run(false, parts);
  return parts;
}

std::vector<AnswerPart> TaggedParser::Finish() {
  std::vector<AnswerPart> parts;
  if (ended_) return parts;
  Run(true, parts);
  if (!called_ && !trim_) AppendPart(AnswerPart::Kind::kContent, space_, parts);
  ended_ = true;
  return parts;
}

void TaggedParser::Run(bool last, std::vector<AnswerPart>& parts) {
  for (bool more = true; more && !ended_;) {
    switch (state_) {
      case State::kStart:
        more = Start(last, parts);
        break;
      case State::kReasoning:
        more = Reasoning(last, parts);
        break;
      case State::kContent:
        more = Content(last, parts);
        break;
      case State::kCall:
        more = Call(last, parts);
        break;
    }
  }
}

// The reasoning, or a call without a marker, may stand at the start alone.
bool TaggedParser::Start(bool last, std::vector<AnswerPart>&) {
  const size_t first = std::min(held_.find_first_not_of(kSpace), held_.size());
  const std::string_view rest = std::string_view(held_).substr(first);
  if (!think_begin_.empty() && IsPrefix(rest.substr(0, think_begin_.size()), think_begin_)) {
    if (rest.size() < think_begin_.size() && !last) return false;
    if (rest.size() >= think_begin_.size()) {
      held_.erase(0, first + think_begin_.size());
      state_ = State::kReasoning;
      trim_ = true;
      return true;
    }
  }
  const Guess guess = syntax_.bare_json && !options_.tools.empty() ? BareCall(rest) : Guess::kNo;
  if (guess == Guess::kMaybe && !last) return false;
  state_ = guess == Guess::kYes ? State::kCall : State::kContent;
  return true;
}

bool TaggedParser::Reasoning(bool last, std::vector<AnswerPart>& parts) {
  const MarkerMatch match = FindMarker(held_, {think_end_});
  const size_t take = last && !match.found() ? held_.size() : match.at;
  Say(AnswerPart::Kind::kReasoning, std::string_view(held_).substr(0, take), parts);
  held_.erase(0, take + (match.found() ? think_end_.size() : 0));
  if (match.found() || last) {
    space_.clear();
    trim_ = true;
    state_ = State::kContent;
  }
  return match.found();
}

bool TaggedParser::Content(bool last, std::vector<AnswerPart>& parts) {
  const MarkerMatch match = FindMarker(held_, content_markers_);
  const size_t take = last && !match.found() ? held_.size() : match.at;
  Say(AnswerPart::Kind::kContent, std::string_view(held_).substr(0, take), parts);
  held_.erase(0, take);
  if (!match.found()) return false;
  const std::string& marker = content_markers_[match.marker];
  held_.erase(0, marker.size());
  if (options_.tools.empty() || match.marker >= syntax_.begin.size()) return true;
  begin_ = marker;
  searched_ = 0;
  state_ = State::kCall;
  return true;
}

bool TaggedParser::Call(bool last, std::vector<AnswerPart>& parts) {
  // A call without an end marker ends where the next one begins.
  const std::string& end = !syntax_.end.empty() ? syntax_.end : syntax_.begin.front();
  const size_t found = held_.find(end, searched_);
  if (found != held_.npos) {
    EndCall(found, syntax_.end.empty() ? 0 : end.size(), parts);
    return true;
  }
  searched_ = held_.size() - std::min(held_.size(), end.size() - 1);
  if (last) EndCall(held_.size(), 0, parts);
  return false;
}

void TaggedParser::EndCall(size_t body_bytes, size_t end_bytes, std::vector<AnswerPart>& parts) {
  const absl::StatusOr<std::vector<ToolCall>> calls =
      ReadCalls(family_, std::string_view(held_).substr(0, body_bytes), options_.tools);
  if (calls.ok()) {
    for (const ToolCall& call : *calls) {
      parts.push_back({.kind = AnswerPart::Kind::kCall, .text = {}, .call = call});
      if ((ended_ = options_.one_call)) break;
    }
    called_ = true;
    space_.clear();
    trim_ = true;
  } else {
    Say(AnswerPart::Kind::kContent, begin_ + held_.substr(0, body_bytes + end_bytes), parts);
  }
  held_.erase(0, body_bytes + end_bytes);
  begin_.clear();
  state_ = State::kContent;
}

// White space at the ends of the reasoning and before a call belongs to the format, not to what is said.
void TaggedParser::Say(AnswerPart::Kind kind, std::string_view text, std::vector<AnswerPart>& parts) {
  if (trim_) {
    const size_t first = text.find_first_not_of(kSpace);
    if (first == text.npos) return;
    text.remove_prefix(first);
    trim_ = false;
  }
  if (kind == AnswerPart::Kind::kContent && options_.tools.empty()) return AppendPart(kind, text, parts);
  const size_t last = text.find_last_not_of(kSpace);
  if (last == text.npos) {
    space_ += text;
    return;
  }
  AppendPart(kind, std::exchange(space_, std::string(text.substr(last + 1))), parts);
  AppendPart(kind, text.substr(0, last + 1), parts);
}

}  // namespace barn
