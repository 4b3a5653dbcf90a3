#pragma once

#include <array>
#include <string_view>

namespace barn {

// The control tokens between and around the messages of the harmony format.
inline constexpr std::string_view kHarmonyMessage = "<|message|>";
inline constexpr std::string_view kHarmonyChannel = "<|channel|>";
inline constexpr std::string_view kHarmonyStart = "<|start|>";
inline constexpr std::string_view kHarmonyConstrain = "<|constrain|>";
inline constexpr std::array<std::string_view, 7> kHarmonyMarkers = {
    kHarmonyMessage, kHarmonyChannel, kHarmonyStart, kHarmonyConstrain, "<|end|>", "<|call|>", "<|return|>"};

}  // namespace barn
