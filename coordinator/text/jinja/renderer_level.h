#pragma once

#include <memory>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/renderer.h"

namespace barn::jinja {

// For the two files that implement the renderer.

class Renderer::Level {
 public:
  Level(Renderer& renderer, int line) : renderer_(renderer) {
    // Each level is a few hundred bytes of stack, a few thousand under sanitizers.
    constexpr int kLevelsMax = 600;
    renderer_.line_ = line;
    if (++renderer_.level_ > kLevelsMax) renderer_.Fail(absl::StrCat("calls nested deeper than ", kLevelsMax));
  }
  ~Level() { --renderer_.level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Renderer& renderer_;
};

class Renderer::InnerScope {
 public:
  explicit InnerScope(Renderer& renderer) : InnerScope(renderer, renderer.scope_) {}
  InnerScope(Renderer& renderer, std::shared_ptr<Scope> outer) : renderer_(renderer), saved_(renderer.scope_) {
    renderer_.scope_ = std::make_shared<Scope>();
    renderer_.scope_->outer = std::move(outer);
  }
  ~InnerScope() { renderer_.scope_ = std::move(saved_); }
  InnerScope(const InnerScope&) = delete;
  InnerScope& operator=(const InnerScope&) = delete;

 private:
  Renderer& renderer_;
  std::shared_ptr<Scope> saved_;
};

}  // namespace barn::jinja
