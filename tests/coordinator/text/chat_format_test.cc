#include "coordinator/text/chat_format.h"

#include <gtest/gtest.h>

#include <vector>

namespace barn {
namespace {

TEST(ChatFormat, PrefixesEachRole) {
  const std::vector<ChatMessage> messages = {
      {"system", "Be brief."}, {"user", "Hi\nthere"}, {"assistant", "Yes?"}, {"user", ""}};
  EXPECT_EQ(RenderPlainChat(messages), "system: Be brief.\nuser: Hi\nthere\nassistant: Yes?\nuser: \nassistant:");
  EXPECT_EQ(RenderPlainChat({}), "assistant:");
}

}  // namespace
}  // namespace barn
