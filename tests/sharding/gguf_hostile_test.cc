#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sharding/gguf.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct HostileCase {
  std::string name;
  std::string file;
  std::string message;  // A part of it.
};

std::string Key(const std::string& key, uint32_t type) { return Bytes().String(key).U32(type).str(); }

// A file with one metadata entry as given; the entry starts at byte 24.
std::string OneEntry(const std::string& entry) { return GgufFile{.metadata = {entry}}.Build(); }

// A file with one tensor as given, and data behind it; the entry starts at byte 24.
std::string OneTensor(const std::string& tensor, uint64_t data_bytes = 4096) {
  return GgufFile{.tensors = {tensor}, .data_bytes = data_bytes}.Build();
}

std::string TwoTensors(uint64_t first_offset, uint64_t second_offset) {
  return GgufFile{.tensors = {TensorInfo("a", {32}, 0, first_offset), TensorInfo("b", {32}, 0, second_offset)},
                  .data_bytes = 4096}
      .Build();
}

std::string Array(uint32_t type, uint64_t count, const std::string& elements) {
  return OneEntry(Bytes().Raw(Key("k", kIdArray)).U32(type).U64(count).Raw(elements).str());
}

std::vector<HostileCase> FrameCases() {
  return {
      {"Empty", "", "magic at byte 0: 4 bytes wanted, but the file ends at 0"},
      {"ThreeBytes", "GGU", "magic at byte 0: 4 bytes wanted, but the file ends at 3"},
      {"OldMagic", GgufFile{.magic = "ggjt"}.Build(), "magic at byte 0: \"ggjt\" is not \"GGUF\""},
      {"UnprintableMagic", GgufFile{.magic = std::string("\x1b[2\n", 4)}.Build(), "\"\\x1b[2\\x0a\" is not"},
      {"NoVersion", "GGUF\3", "version at byte 4: 4 bytes wanted"},
      {"Version0", GgufFile{.version = 0}.Build(), "version 0 is not supported; 2 and 3 are"},
      {"Version1", GgufFile{.version = 1}.Build(), "version at byte 4: version 1 is not supported; 2 and 3 are"},
      {"Version4", GgufFile{.version = 4}.Build(), "version 4 is not supported"},
      {"BigEndian", GgufFile{.version = 0x03000000}.Build(), "the file is big-endian"},
      {"NoCounts", "GGUF\3" + std::string(3, '\0'), "tensor count at byte 8"},
      {"TensorCountHuge", GgufFile{.tensor_count = ~uint64_t{0}}.Build(),
       "tensor count at byte 8: 18446744073709551615 is above"},
      {"TensorCountLies", GgufFile{.tensor_count = 1000}.Build(),
       "1000 entries take at least 33000 bytes, but 8 remain"},
      {"MetadataCountHuge", GgufFile{.metadata_count = uint64_t{1} << 40}.Build(), "metadata count at byte 16"},
      {"MetadataCountLies", GgufFile{.metadata_count = 100}.Build(),
       "100 entries take at least 1400 bytes, but 0 remain"},
      {"MetadataCountOneTooMany",
       GgufFile{.metadata_count = 2, .metadata = {KvString("a", "some longer text")}}.Build(),
       "metadata key 1 at byte 61"},
  };
}

std::vector<HostileCase> MetadataCases() {
  const std::string element = Bytes().U32(7).str();
  return {
      {"KeyEmpty", OneEntry(KvU32("", 1) + std::string(8, '\0')), "metadata key 0 at byte 24: the key is empty"},
      {"KeyLengthHuge", OneEntry(Bytes().U64(~uint64_t{0}).Raw(std::string(40, 'a')).str()),
       "metadata key 0 at byte 24: string length 18446744073709551615 is above 65535"},
      {"KeyBeyondEnd", OneEntry(Bytes().U64(60000).Raw(std::string(40, 'a')).str()),
       "metadata key 0 at byte 24: string length 60000, but 40 bytes remain"},
      {"KeyTwice", GgufFile{.metadata = {KvU32("k", 1), KvU32("k", 1)}}.Build(),
       "metadata key 1 at byte 41: the key \"k\" appears twice"},
      {"KeyEscaped", GgufFile{.metadata = {KvU32("a\nb", 1), KvU32("a\nb", 1)}}.Build(), "\"a\\x0ab\" appears twice"},
      {"TypeUnknown", OneEntry(Key("k", 13) + element), "metadata \"k\" type at byte 33: 13 is not a known value type"},
      {"TypeHuge", OneEntry(Key("k", 0xffffffff) + element), "4294967295 is not a known value type"},
      {"ValueCut", OneEntry(Key("k", kIdU64) + element), "metadata \"k\" at byte 37: 8 bytes wanted"},
      {"BoolTwo", OneEntry(Key("k", kIdBool) + "\2"), "metadata \"k\" at byte 37: boolean is 2, not 0 or 1"},
      {"StringHuge", OneEntry(Bytes().Raw(Key("k", kIdString)).U64(uint64_t{1} << 63).str()),
       "metadata \"k\" at byte 37: string length 9223372036854775808 is above"},
      {"StringBeyondEnd", OneEntry(Bytes().Raw(Key("k", kIdString)).U64(9).Raw("12345678").str()),
       "string length 9, but 8 bytes remain"},
      {"ArrayNested", Array(kIdArray, 1, std::string(16, '\0')),
       "metadata \"k\" element type at byte 37: arrays of arrays are not supported"},
      {"ArrayTypeUnknown", Array(99, 1, element), "element type at byte 37: 99 is not a known value type"},
      {"ArrayHuge", Array(kIdU8, ~uint64_t{0}, element),
       "metadata \"k\" array length at byte 41: 18446744073709551615 elements of at least 1 bytes, but 4 bytes remain"},
      {"ArrayLies", Array(kIdU32, 2, element), "2 elements of at least 4 bytes, but 4 bytes remain"},
      {"ArrayOfStringsLies", Array(kIdString, 1000, std::string(16, '\0')), "1000 elements of at least 8 bytes"},
      {"ArrayOfStringsCut", Array(kIdString, 2, Bytes().String("abc").U64(100).str()),
       "string length 100, but 0 bytes remain"},
      {"ArrayBoolThree", Array(kIdBool, 2, std::string("\1\3")), "metadata \"k\" at byte 50: boolean is 3"},
      {"ArrayTooLong", Array(kIdU8, (1 << 24) + 1, std::string((1 << 24) + 1, '\0')),
       "16777217 elements make more than 16777216 in this file"},
      {"Alignment0", OneEntry(KvU32("general.alignment", 0)),
       "metadata \"general.alignment\" at byte 49: the alignment"},
      {"Alignment4", OneEntry(KvU32("general.alignment", 4)), "must be a power of two from 8 to 1048576"},
      {"Alignment48", OneEntry(KvU32("general.alignment", 48)), "must be a power of two"},
      {"AlignmentHuge", OneEntry(KvU32("general.alignment", 1u << 31)), "must be a power of two"},
      {"AlignmentText", OneEntry(KvString("general.alignment", "32")), "must be a power of two"},
  };
}

std::vector<HostileCase> TensorCases() {
  return {
      {"NameEmpty", OneTensor(TensorInfo("", {32}, 0, 0)), "name of tensor 0 at byte 24: the name is empty"},
      {"NameLong", OneTensor(TensorInfo(std::string(256, 'x'), {32}, 0, 0)), "string length 256 is above 255"},
      {"NameTwice",
       GgufFile{.tensors = {TensorInfo("t", {32}, 0, 0), TensorInfo("t", {32}, 0, 128)}, .data_bytes = 256}.Build(),
       "name of tensor 1 at byte 57: the name \"t\" appears twice"},
      {"Dims0", OneTensor(TensorInfo("t", {}, 0, 0) + std::string(8, '\0')),
       "tensor \"t\" dimension count at byte 33: 0 is not 1 to 4"},
      {"Dims5", OneTensor(TensorInfo("t", {1, 1, 1, 1, 1}, 0, 0)), "dimension count at byte 33: 5 is not 1 to 4"},
      {"DimZero", OneTensor(TensorInfo("t", {32, 0}, 0, 0)), "tensor \"t\" dimension 1 at byte 45: is 0"},
      {"DimNegative", OneTensor(TensorInfo("t", {~uint64_t{0}}, 0, 0)), "makes the element count overflow 63 bits"},
      {"DimsOverflow", OneTensor(TensorInfo("t", {uint64_t{1} << 32, uint64_t{1} << 31}, 0, 0)),
       "tensor \"t\" dimension 1 at byte 45: 2147483648 makes the element count overflow 63 bits"},
      {"DimsOverflowToSmall", OneTensor(TensorInfo("t", {uint64_t{1} << 32, uint64_t{1} << 32, 32}, 0, 0)),
       "overflow 63 bits"},
      {"BytesOverflow", OneTensor(TensorInfo("t", {uint64_t{1} << 62}, 0, 0)),
       "tensor \"t\" type at byte 45: 4611686018427387904 elements of F32 overflow 63 bits"},
      {"BlockCut", OneTensor(TensorInfo("t", {48, 2}, 2, 0)),
       "tensor \"t\" type at byte 53: rows of 48 elements are no whole number of Q4_0 blocks (32 elements)"},
      {"TypeRemoved", OneTensor(TensorInfo("t", {32}, 4, 0)), "type 4 (Q4_2), which was removed from GGUF"},
      {"TypeRemovedRepacked", OneTensor(TensorInfo("t", {32}, 31, 0)), "type 31 (Q4_0_4_4), which was removed"},
      {"TypeOfFork", OneTensor(TensorInfo("t", {256}, 139, 0)), "type 139, which only the fork ik_llama.cpp defines"},
      {"TypeUnknownTensor", OneTensor(TensorInfo("t", {32}, 100000, 0)), "type 100000, which is not a known GGUF type"},
      {"OffsetUnaligned", OneTensor(TensorInfo("t", {32}, 0, 16)),
       "tensor \"t\" offset at byte 49: 16 is not a multiple of the alignment 32"},
      {"OffsetUnalignedForKey",
       GgufFile{
           .metadata = {KvU32("general.alignment", 64)}, .tensors = {TensorInfo("t", {32}, 0, 32)}, .data_bytes = 256}
           .Build(),
       "32 is not a multiple of the alignment 64"},
      {"OffsetHuge", OneTensor(TensorInfo("t", {32}, 0, ~uint64_t{31})), "with a size of 128 bytes is too large"},
      {"OffsetPlusSizeHuge", OneTensor(TensorInfo("t", {uint64_t{1} << 59, 2}, 0, 32)), "is too large"},
      {"DataCut", OneTensor(TensorInfo("t", {32}, 0, 4096)),
       "tensor \"t\" offset at byte 49: its data ends at 4288, but the file ends at 4160 (128 bytes missing)"},
      {"DataCutByOne", OneTensor(TensorInfo("t", {32}, 0, 0), 127), "(1 bytes missing)"},
      {"DataMissing", OneTensor(TensorInfo("t", {32}, 0, 0), 0), "missing)"},
      {"OverlapSame", TwoTensors(0, 0),
       "tensor \"b\" offset at byte 82: 0 lies inside tensor \"a\", which ends at 128"},
      {"OverlapPartly", TwoTensors(0, 96), "96 lies inside tensor \"a\", which ends at 128"},
      {"OverlapBackwards", TwoTensors(96, 0), "tensor \"a\" offset at byte 49: 96 lies inside tensor \"b\""},
      {"EntryCut", OneTensor(TensorInfo("t", {32}, 0, 0), 0).substr(0, 40), "1 entries take at least 33 bytes"},
  };
}

void PrintTo(const HostileCase& hostile, std::ostream* stream) { *stream << hostile.name; }

class GgufHostile : public ::testing::TestWithParam<HostileCase> {};

TEST_P(GgufHostile, IsRefusedInOneLine) {
  std::vector<std::shared_ptr<const Store>> parts;
  parts.push_back(MemoryStore("bad.gguf", GetParam().file));
  const auto model = GgufModel::Read(std::move(parts));
  ASSERT_FALSE(model.ok());
  const std::string message(model.status().message());
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  EXPECT_THAT(message, HasSubstr("bad.gguf: "));
  EXPECT_THAT(message, HasSubstr(" at byte "));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  EXPECT_TRUE(absl::IsInvalidArgument(model.status()) || absl::IsDataLoss(model.status())) << model.status();
}

std::string CaseName(const ::testing::TestParamInfo<HostileCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Frame, GgufHostile, ::testing::ValuesIn(FrameCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Metadata, GgufHostile, ::testing::ValuesIn(MetadataCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Tensor, GgufHostile, ::testing::ValuesIn(TensorCases()), CaseName);

// Every cut of a whole small model is refused, never read beyond its end.
TEST(GgufTruncation, EveryPrefixIsRefused) {
  const std::string whole = TinyModel{}.File().Build();
  const auto read = [&](size_t length) {
    std::vector<std::shared_ptr<const Store>> parts;
    parts.push_back(MemoryStore("cut.gguf", whole.substr(0, length)));
    return GgufModel::Read(std::move(parts)).status();
  };
  EXPECT_TRUE(read(whole.size()).ok()) << read(whole.size());
  // The last tensor needs all bytes but its padding, which is none: its size is a multiple of 32.
  for (size_t length = 0; length < whole.size(); length += length < 2048 ? 1 : 509) {
    EXPECT_FALSE(read(length).ok()) << length;
  }
}

// A sum of sizes above the bound, which no real file can reach, through header_only.
TEST(GgufHeaderOnly, SumOfSizesIsBounded) {
  const uint64_t half = uint64_t{1} << 60;
  GgufFile file{.tensors = {TensorInfo("a", {half / 4}, 0, 0), TensorInfo("b", {32}, 0, half)}};
  std::vector<std::shared_ptr<const Store>> parts = {MemoryStore("sum.gguf", file.Build())};
  const auto model = GgufModel::Read(parts, {.header_only = true});
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("tensor \"b\" brings the sum of all sizes"));
}

}  // namespace
}  // namespace barn
