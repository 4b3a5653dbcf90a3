#include "coordinator/text/tools/harmony_parser.h"

#include <algorithm>

#include "coordinator/text/tools/harmony_markers.h"
#include "coordinator/text/tools/marker_search.h"

namespace barn {
namespace {

constexpr size_t kHeaderBytesMax = 1024;
constexpr std::string_view kRecipient = "to=functions.";

// What may end a message: its own end, or the start of the next where the model forgot to.
const std::vector<std::string>& Ends() {
  static const auto* ends =
      new std::vector<std::string>{"<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"};
  return *ends;
}

bool IsPrefix(std::string_view prefix, std::string_view text) { return text.substr(0, prefix.size()) == prefix; }

// Whether a message's header may begin so: the prompt ends behind "<|start|>assistant".
bool MayBeHeader(std::string_view text) {
  const size_t first = text.find_first_not_of(" \n");
  if (first == text.npos) return true;
  text.remove_prefix(first);
  for (const std::string_view begin :
       {kHarmonyChannel, kHarmonyStart, kHarmonyMessage, kHarmonyConstrain, kRecipient}) {
    if (IsPrefix(text.substr(0, begin.size()), begin)) return true;
  }
  return false;
}

}  // namespace

std::vector<AnswerPart> HarmonyParser::Push(std::string_view text) {
  std::vector<AnswerPart> parts;
  if (ended_) return parts;
  held_ += text;
  Run(false, parts);
  return parts;
}

std::vector<AnswerPart> HarmonyParser::Finish() {
  std::vector<AnswerPart> parts;
  if (ended_) return parts;
  Run(true, parts);
  EndMessage(parts);
  ended_ = true;
  return parts;
}

void HarmonyParser::Run(bool last, std::vector<AnswerPart>& parts) {
  for (bool more = true; more && !ended_;) more = state_ == State::kHeader ? Header(last, parts) : Body(last, parts);
}

bool HarmonyParser::Header(bool last, std::vector<AnswerPart>&) {
  const size_t found = held_.find(kHarmonyMessage);
  if (!MayBeHeader(held_) || std::min(found, held_.size()) > kHeaderBytesMax) {
    state_ = State::kContent;  // The model speaks without a channel.
    return true;
  }
  if (found == held_.npos) {
    if (last) held_.clear();
    return false;
  }
  ReadHeader(std::string_view(held_).substr(0, found));
  held_.erase(0, found + kHarmonyMessage.size());
  return true;
}

void HarmonyParser::ReadHeader(std::string_view header) {
  const size_t recipient = header.find(kRecipient);
  if (recipient != header.npos && !options_.tools.empty()) {
    const std::string_view name = header.substr(recipient + kRecipient.size());
    tool_ = name.substr(0, std::min(name.find_first_of(" <\n"), name.size()));
    state_ = State::kCall;
    return;
  }
  const bool analysis = header.find("<|channel|>analysis") != header.npos;
  state_ = analysis ? State::kReasoning : State::kContent;
}

bool HarmonyParser::Body(bool last, std::vector<AnswerPart>& parts) {
  const MarkerMatch match = FindMarker(held_, Ends());
  const size_t take = last && !match.found() ? held_.size() : match.at;
  const std::string_view text = std::string_view(held_).substr(0, take);
  if (state_ == State::kCall) {
    body_ += text;
  } else {
    AppendPart(state_ == State::kReasoning ? AnswerPart::Kind::kReasoning : AnswerPart::Kind::kContent, text, parts);
  }
  held_.erase(0, take);
  if (!match.found()) return false;
  // "<|start|>" and "<|channel|>" belong to the next header.
  const std::string& end = Ends()[match.marker];
  if (end != kHarmonyStart && end != kHarmonyChannel) held_.erase(0, end.size());
  EndMessage(parts);
  return true;
}

void HarmonyParser::EndMessage(std::vector<AnswerPart>& parts) {
  if (state_ == State::kCall) {
    const absl::StatusOr<std::vector<ToolCall>> calls =
        ReadCalls(CallFamily::kHarmony, tool_ + "\n" + body_, options_.tools);
    if (calls.ok()) {
      parts.push_back({.kind = AnswerPart::Kind::kCall, .text = {}, .call = calls->front()});
      ended_ = options_.one_call;
    } else {
      AppendPart(AnswerPart::Kind::kContent, body_, parts);
    }
    body_.clear();
    tool_.clear();
  }
  state_ = State::kHeader;
}

}  // namespace barn
