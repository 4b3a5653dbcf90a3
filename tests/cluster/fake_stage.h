#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "coordinator/scheduler/request.h"
#include "coordinator/text/tokenizer.h"
#include "proto/cluster.pb.h"

namespace barn {

// The model that fake workers run: the next token depends on every token of the history, so that a lost, repeated or
// misplaced token changes the rest of the answer. After a history with hash h the best token is h % vocabulary and
// the token that lies k further on (cyclically) has the logit 5 - k / 2.
struct FakeModel {
  int vocabulary = 50;
  bool encoder = false;  // Sequences must come whole.

  static constexpr int64_t kWidth = 2;
  // The hidden state of the row behind a history; small integers, so that sums are exact.
  static std::vector<float> Hidden(uint64_t hash);
  // What a cluster must give for a prompt.
  std::vector<float> Embedding(const std::vector<int32_t>& prompt, Pooling pooling) const;

  static uint64_t Extend(uint64_t hash, int32_t token);
  int32_t Best(uint64_t hash) const { return static_cast<int32_t>(hash % vocabulary); }
  float Logit(uint64_t hash, int32_t id) const;
  double LogSumExp() const;
  // What a cluster must answer greedily.
  std::vector<int32_t> Answer(std::vector<int32_t> prompt, int64_t max_tokens, const std::set<int32_t>& end_ids) const;
};

// For a FakeModel of the usual size: token i prints as "<i>".
std::unique_ptr<Tokenizer> NumberTokenizer();

// One pipeline stage without a transport. Its KV cells hold tokens and are read through the block tables that the
// coordinator sends, so that a block that is reused too early, or a wrong difference, shows as a wrong token.
class FakeStage {
 public:
  FakeStage(const FakeModel& model, const proto::LoadRequest& load);

  struct Output {
    proto::StepResult result;
    std::vector<uint64_t> rows;  // For the next stage.
  };
  // `input`: rows of the stage before; not looked at on the first. What makes no sense is noted in errors().
  Output Run(const proto::StepRequest& step, const std::vector<uint64_t>& input);

  const proto::LoadRequest& load() const { return load_; }
  const std::vector<std::string>& errors() const { return errors_; }

 private:
  uint64_t HashTo(const std::vector<int32_t>& blocks, int64_t position) const;
  void UpdateTable(const proto::StepSequence& sequence);
  int32_t TakeBest(const std::map<int64_t, int32_t>& best, const proto::StepSequence& sequence);
  void Write(int64_t id, int64_t position, int32_t token);
  proto::SequenceResult Answer(const proto::StepSequence& sequence, std::span<const uint64_t> rows) const;

  const FakeModel model_;
  const proto::LoadRequest load_;
  std::vector<int32_t> cells_;  // [kv_blocks * kv_block_tokens]
  std::map<int64_t, std::vector<int32_t>> tables_;
  std::map<int64_t, std::map<int32_t, int64_t>> overwritten_;  // Blocks of a sequence's table by who wrote to them.
  std::map<int64_t, int32_t> best_;  // Of sequences of which the last step wanted one candidate.
  std::vector<std::string> errors_;
};

}  // namespace barn
