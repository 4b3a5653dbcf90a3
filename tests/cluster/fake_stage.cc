#include "tests/cluster/fake_stage.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

// The ids of a vocabulary that a step lets be candidates.
std::vector<bool> AllowedIds(const proto::StepSequence& sequence, int vocabulary) {
  if (!sequence.has_mask()) return std::vector<bool>(vocabulary, true);
  const proto::TokenMask& mask = sequence.mask();
  std::vector<bool> allowed(vocabulary, mask.named_are_forbidden());
  int64_t id = -1;
  for (const uint32_t gap : mask.named_gaps()) allowed.at(id += gap) = !mask.named_are_forbidden();
  for (int i = 0; !mask.bits().empty() && i < vocabulary; ++i) allowed[i] = (mask.bits()[i / 8] >> (i % 8) & 1) != 0;
  return allowed;
}

}  // namespace

uint64_t FakeModel::Extend(uint64_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint64_t>(token + 1)) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 29);
}

float FakeModel::Logit(uint64_t hash, int32_t id) const {
  return 5 - 0.5f * static_cast<float>((id - Best(hash) + vocabulary) % vocabulary);
}

double FakeModel::LogSumExp() const {
  double sum = 0;
  for (int k = 0; k < vocabulary; ++k) sum += std::exp(5 - 0.5 * k);
  return std::log(sum);
}

std::vector<int32_t> FakeModel::Answer(std::vector<int32_t> prompt, int64_t max_tokens,
                                       const std::set<int32_t>& end_ids) const {
  uint64_t hash = 0;
  for (int32_t token : prompt) hash = Extend(hash, token);
  std::vector<int32_t> answer;
  while (static_cast<int64_t>(answer.size()) < max_tokens) {
    answer.push_back(Best(hash));
    if (end_ids.contains(answer.back())) break;
    hash = Extend(hash, answer.back());
  }
  return answer;
}

std::vector<float> FakeModel::Hidden(uint64_t hash) {
  return {static_cast<float>(hash >> 56), static_cast<float>(hash >> 48 & 255)};
}

std::vector<float> FakeModel::Embedding(const std::vector<int32_t>& prompt, Pooling pooling) const {
  std::vector<float> sum(kWidth, 0.0f), first, last;
  uint64_t hash = 0;
  for (const int32_t token : prompt) {
    hash = Extend(hash, token);
    last = Hidden(hash);
    if (first.empty()) first = last;
    for (size_t i = 0; i < last.size(); ++i) sum[i] += last[i];
  }
  switch (pooling) {
    case Pooling::kFirst:
      return first;
    case Pooling::kLast:
      return last;
    case Pooling::kScore:
      return {first[0] - first[1]};
    default:
      for (float& value : sum) value = static_cast<float>(double{value} / static_cast<double>(prompt.size()));
      return sum;
  }
}

std::unique_ptr<Tokenizer> NumberTokenizer() {
  Vocabulary vocabulary;
  vocabulary.model = "none";
  vocabulary.id_count = FakeModel().vocabulary;
  return *Tokenizer::Create(std::move(vocabulary));
}

FakeStage::FakeStage(const FakeModel& model, const proto::LoadRequest& load)
    : model_(model), load_(load), cells_(load.kv_blocks() * load.kv_block_tokens(), -1) {}

uint64_t FakeStage::HashTo(const std::vector<int32_t>& blocks, int64_t position) const {
  uint64_t hash = 0;
  for (int64_t p = 0; p <= position; ++p) {
    const int64_t cell = blocks[p / load_.kv_block_tokens()] * load_.kv_block_tokens() + p % load_.kv_block_tokens();
    hash = FakeModel::Extend(hash, cells_[cell]);
  }
  return hash;
}

void FakeStage::UpdateTable(const proto::StepSequence& sequence) {
  std::vector<int32_t>& table = tables_[sequence.sequence_id()];
  if (sequence.block_offset() > static_cast<int>(table.size())) {
    errors_.push_back(absl::StrFormat("sequence %d: block offset %d, %d known", sequence.sequence_id(),
                                      sequence.block_offset(), table.size()));
  }
  table.resize(sequence.block_offset());  // Less than before: it went back.
  for (int32_t block : sequence.new_blocks()) {
    if (block < 0 || block >= load_.kv_blocks()) errors_.push_back(absl::StrFormat("block %d", block));
    table.push_back(block);
  }
  for (const auto& [block, writer] : std::exchange(overwritten_[sequence.sequence_id()], {})) {
    if (std::count(table.begin(), table.end(), block) == 0) continue;
    errors_.push_back(
        absl::StrFormat("sequence %d wrote to block %d, which %d reads", writer, block, sequence.sequence_id()));
  }
}

int32_t FakeStage::TakeBest(const std::map<int64_t, int32_t>& best, const proto::StepSequence& sequence) {
  const auto found = best.find(sequence.sequence_id());
  if (found == best.end() || load_.stages() > 1 || sequence.tokens_size() > 0 || sequence.rows() != 1) {
    errors_.push_back(absl::StrFormat("sequence %d takes a best candidate that is not there", sequence.sequence_id()));
    return 0;
  }
  return found->second;
}

// Blocks may be shared, but who writes to one must be alone with it, unless the other has left it by its next step.
void FakeStage::Write(int64_t id, int64_t position, int32_t token) {
  const int32_t block = tables_[id][position / load_.kv_block_tokens()];
  for (const auto& [other, table] : tables_) {
    if (other != id && std::count(table.begin(), table.end(), block) > 0) overwritten_[other][block] = id;
  }
  cells_[block * load_.kv_block_tokens() + position % load_.kv_block_tokens()] = token;
}

FakeStage::Output FakeStage::Run(const proto::StepRequest& step, const std::vector<uint64_t>& input) {
  Output output;
  output.result.set_epoch(step.epoch());
  output.result.set_step_id(step.step_id());
  output.result.set_compute_us(10);
  for (int64_t id : step.released_sequences()) {
    tables_.erase(id);
    overwritten_.erase(id);
  }
  const std::map<int64_t, int32_t> best = std::exchange(best_, {});
  for (const proto::StepSequence& sequence : step.sequences()) {
    UpdateTable(sequence);
    if (model_.encoder && sequence.first_position() != 0) {
      errors_.push_back(absl::StrFormat("sequence %d of an encoder goes on at %d", sequence.sequence_id(),
                                        sequence.first_position()));
    }
    const std::vector<int32_t>& table = tables_[sequence.sequence_id()];
    const size_t first_row = output.rows.size();
    for (int row = 0; row < sequence.rows(); ++row) {
      const int64_t position = sequence.first_position() + row;
      if (position >= static_cast<int64_t>(table.size()) * load_.kv_block_tokens()) {
        errors_.push_back(absl::StrFormat("sequence %d: no block for position %d", sequence.sequence_id(), position));
        return output;
      }
      Write(sequence.sequence_id(), position, sequence.takes_best() ? TakeBest(best, sequence) : sequence.tokens(row));
      output.rows.push_back(HashTo(table, position));
    }
    if (sequence.want_candidates() && sequence.candidates() == 1) {
      best_[sequence.sequence_id()] = model_.Best(output.rows.back());
    }
    if (load_.stage() + 1 == load_.stages() && load_.rank() == 0) {
      *output.result.add_sequences() = Answer(sequence, std::span(output.rows).subspan(first_row));
    }
  }
  if (load_.stage() > 0 && input != output.rows) errors_.push_back("a stage sees another history than the one before");
  return output;
}

proto::SequenceResult FakeStage::Answer(const proto::StepSequence& sequence, std::span<const uint64_t> rows) const {
  proto::SequenceResult result;
  result.set_sequence_id(sequence.sequence_id());
  if (sequence.want_candidates()) {
    const std::vector<bool> allowed = AllowedIds(sequence, model_.vocabulary);
    for (int k = 0; result.candidate_ids_size() < sequence.candidates() && k < model_.vocabulary; ++k) {
      const int32_t id = (model_.Best(rows.back()) + k) % model_.vocabulary;
      if (!allowed[id]) continue;
      result.add_candidate_ids(id);
      result.add_candidate_logits(5 - 0.5f * k);
    }
    result.set_logsumexp(model_.LogSumExp());
  }
  for (int back = sequence.more_candidate_rows(); sequence.want_candidates() && back > 0; --back) {
    const uint64_t hash = rows[rows.size() - 1 - back];
    proto::RowResult& row = *result.add_rows();
    for (int k = 0; k < sequence.candidates() && k < model_.vocabulary; ++k) {
      row.add_candidate_ids((model_.Best(hash) + k) % model_.vocabulary);
      row.add_candidate_logits(5 - 0.5f * k);
    }
    row.set_logsumexp(model_.LogSumExp());
  }
  if (sequence.pooling() != proto::POOLING_NONE) {
    std::vector<float> pooled = FakeModel::Hidden(sequence.pooling() == proto::POOLING_LAST ? rows.back() : rows[0]);
    if (sequence.pooling() == proto::POOLING_SCORE) pooled = {pooled[0] - pooled[1]};
    for (size_t row = 1; row < rows.size() && sequence.pooling() == proto::POOLING_SUM; ++row) {
      for (size_t i = 0; i < pooled.size(); ++i) pooled[i] += FakeModel::Hidden(rows[row])[i];
    }
    result.set_embedding(pooled.data(), pooled.size() * sizeof(float));
  }
  if (sequence.want_full_logits()) {
    std::vector<float> logits;
    for (int id = 0; id < model_.vocabulary; ++id) logits.push_back(model_.Logit(rows.back(), id));
    result.set_full_logits(std::string(reinterpret_cast<const char*>(logits.data()), logits.size() * 4));
  }
  for (int i = 0; i < sequence.targets_size(); ++i) {
    const uint64_t hash = rows[rows.size() - sequence.targets_size() + i];
    proto::TargetScore& score = *result.add_scores();
    score.set_logit(model_.Logit(hash, sequence.targets(i)));
    score.set_logsumexp(model_.LogSumExp());
    score.set_best(sequence.targets(i) == model_.Best(hash));
    for (int k = 0; k < sequence.target_candidates(); ++k) {
      score.add_candidate_ids((model_.Best(hash) + k) % model_.vocabulary);
      score.add_candidate_logits(5 - 0.5f * k);
    }
  }
  return result;
}

}  // namespace barn
