#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace barn {

// Byte-level BPE (GPT-2) writes each byte as a printable character: bytes that print in Latin-1 (33-126, 161-172,
// 174-255) stand for themselves, and the other 68, in order, become U+0100 onwards. Vocabulary files store pieces in
// that alphabet.

// The character of `byte`, as UTF-8.
std::string ByteToAlphabet(uint8_t byte);

// The bytes that `piece` stands for. Returns false, and leaves `bytes` unspecified, if it holds another character.
bool AlphabetToBytes(std::string_view piece, std::string* bytes);

// SPM vocabularies write a byte token as "<0x0A>". Nullopt: another text.
std::optional<uint8_t> ParseByteToken(std::string_view text);

}  // namespace barn
