#include "coordinator/http/model_wish.h"

#include <gtest/gtest.h>

#include "coordinator/http/url.h"

namespace barn {
namespace {

HttpRequest Post(const std::string& path, const std::string& body) {
  HttpRequest request;
  request.method = "POST";
  request.path = path;
  request.body = body;
  return request;
}

ModelWish Wish(const std::string& path, const std::string& body, ModelNeed need = ModelNeed::kLoaded) {
  auto wish = ReadWish(Post(path, body), need);
  EXPECT_TRUE(std::holds_alternative<ModelWish>(wish)) << body;
  return std::holds_alternative<ModelWish>(wish) ? std::get<ModelWish>(wish) : ModelWish();
}

ApiError Refused(const std::string& path, const std::string& body) {
  auto wish = ReadWish(Post(path, body), ModelNeed::kLoaded);
  EXPECT_TRUE(std::holds_alternative<ApiError>(wish)) << body;
  return std::holds_alternative<ApiError>(wish) ? std::get<ApiError>(wish) : ApiError();
}

TEST(ModelWish, TheModelIsThatOfTheOutermostObject) {
  const ModelWish wish = Wish("/v1/chat/completions",
                              R"({"messages": [{"model": "inner", "content": [{"model": "deep"}]}],
                                  "tools": {"model": "no"}, "model": "a/b:c", "keep_alive": "no time at all"})");
  EXPECT_EQ(wish.name, "a/b:c");
  EXPECT_TRUE(wish.load);
  EXPECT_FALSE(wish.keep_alive.has_value());  // Another dialect's field.
  EXPECT_EQ(wish.wait_max, kLoadWaitMax);
  EXPECT_EQ(Wish("/api/show", R"({"name": "x"})", ModelNeed::kOpened).name, "x");
  EXPECT_FALSE(Wish("/api/show", R"({"name": "x"})", ModelNeed::kOpened).load);
}

TEST(ModelWish, WithoutAModelThereIsNoWish) {
  for (const char* body :
       {"{}", R"({"model": ""})", R"({"model": 5})", R"({"model": null})", R"({"x": {"model": "a"}})"}) {
    const ApiError error = Refused("/v1/completions", body);
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.param, "model") << body;
  }
  EXPECT_EQ(Refused("/v1/completions", "").message, "missing request body");
  for (const char* body : {"[1]", "\"a\"", "{", "{\"model\": \"a\"", "nonsense"}) {
    EXPECT_EQ(Refused("/v1/completions", body).status, 400) << body;
  }
  EXPECT_EQ(Refused("/v1/completions", "{\"model\": \"" + std::string(600, 'a') + "\"}").param, "model");
}

TEST(ModelWish, KeepAlive) {
  EXPECT_EQ(ParseKeepAlive(5), absl::Seconds(5));
  EXPECT_EQ(ParseKeepAlive(0.5), absl::Milliseconds(500));
  EXPECT_EQ(ParseKeepAlive("10m"), absl::Minutes(10));
  EXPECT_EQ(ParseKeepAlive("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseKeepAlive("0"), absl::ZeroDuration());
  EXPECT_EQ(ParseKeepAlive("0s"), absl::ZeroDuration());
  for (const nlohmann::json& ever : {nlohmann::json(-1), nlohmann::json("-1"), nlohmann::json("-5m"),
                                     nlohmann::json(1e300), nlohmann::json("inf")}) {
    ASSERT_TRUE(ParseKeepAlive(ever).has_value()) << ever;
    EXPECT_LT(*ParseKeepAlive(ever), absl::ZeroDuration()) << ever;
  }
  for (const nlohmann::json& bad : {nlohmann::json(true), nlohmann::json("soon"), nlohmann::json(""),
                                    nlohmann::json("nan"), nlohmann::json::array(), nlohmann::json(nullptr)}) {
    EXPECT_FALSE(ParseKeepAlive(bad).has_value()) << bad;
  }
  EXPECT_EQ(Wish("/api/chat", R"({"model": "m", "keep_alive": "5m"})").keep_alive, absl::Minutes(5));
  EXPECT_EQ(Refused("/api/chat", R"({"model": "m", "keep_alive": "soon"})").param, "keep_alive");
}

TEST(ModelWish, NothingToSayAndNoTimeToStayUnloads) {
  EXPECT_TRUE(Wish("/api/generate", R"({"model": "m", "keep_alive": 0})").unload);
  EXPECT_TRUE(Wish("/api/generate", R"({"model": "m", "keep_alive": "0", "prompt": ""})").unload);
  EXPECT_TRUE(Wish("/api/chat", R"({"model": "m", "keep_alive": 0, "messages": []})").unload);
  EXPECT_FALSE(Wish("/api/chat", R"({"model": "m", "keep_alive": 0, "messages": []})").load);
  EXPECT_FALSE(Wish("/api/generate", R"({"model": "m", "keep_alive": 0, "prompt": "a"})").unload);
  EXPECT_FALSE(Wish("/api/chat", R"({"model": "m", "keep_alive": 0, "messages": [{"role": "user"}]})").unload);
  EXPECT_FALSE(Wish("/api/generate", R"({"model": "m"})").unload);
}

TEST(ModelWish, PullNamesAUrl) {
  const ModelWish plain = Wish("/api/pull", R"({"model": "https://host/path/m-Q4_K_M.gguf?download=true"})");
  EXPECT_EQ(plain.name, "m-Q4_K_M");
  EXPECT_EQ(plain.from, "https://host/path/m-Q4_K_M.gguf?download=true");
  EXPECT_EQ(Wish("/api/pull", R"({"model": "mine", "from": "http://host/x.gguf"})").from, "http://host/x.gguf");
  EXPECT_EQ(Wish("/api/pull", R"({"model": "mine"})").from, "");
  EXPECT_EQ(Refused("/api/pull", R"({"model": "mine", "from": "/etc/passwd"})").param, "from");
  EXPECT_EQ(Wish("/api/create", R"({"model": "mine", "from": "other"})").from, "other");
  EXPECT_EQ(Wish("/api/chat", R"({"model": "mine", "from": "other"})").from, "");
}

TEST(ModelWish, TheWaitIsTheClients) {
  HttpRequest request = Post("/v1/completions", R"({"model": "m"})");
  request.wait_s = 0;
  EXPECT_EQ(std::get<ModelWish>(ReadWish(request, ModelNeed::kLoaded)).wait_max, absl::ZeroDuration());
  request.wait_s = 100000;
  EXPECT_EQ(std::get<ModelWish>(ReadWish(request, ModelNeed::kLoaded)).wait_max, kLoadWaitMax);
}

TEST(Url, FileStem) {
  EXPECT_EQ(FileStem("/a/b/model.gguf"), "model");
  EXPECT_EQ(FileStem("https://h/p/m-00001-of-00003.gguf?x=/y"), "m");
  EXPECT_EQ(FileStem("model"), "model");
  EXPECT_EQ(FileStem(""), "");
}

}  // namespace
}  // namespace barn
