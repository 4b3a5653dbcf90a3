#include "worker/exchange/rank_message.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "proto/base/trust.h"

namespace barn {
namespace {

// Calls visit(offset in the block, where those floats lie in the rows, their count) for each row of a piece of a block.
template <class Visit>
void ForPieces(const SharedRows& shared, int rank, int64_t offset, int64_t count, Visit visit) {
  const int64_t first = shared.bounds[rank];
  const int64_t width = shared.bounds[rank + 1] - first;
  for (int64_t done = 0; done < count;) {
    const int64_t row = (offset + done) / width, column = (offset + done) % width;
    const int64_t length = std::min(width - column, count - done);
    visit(done, shared.data + row * shared.stride + first + column, length);
    done += length;
  }
}

}  // namespace

void PackBlock(const SharedRows& shared, int rank, int64_t offset, int64_t count, float* out) {
  ForPieces(shared, rank, offset, count,
            [&](int64_t done, const float* from, int64_t length) { std::copy_n(from, length, out + done); });
}

RankInbox::RankInbox(const Options& options) : options_(options), peers_(options.ranks) {}

void RankInbox::Place(int rank, int64_t offset, const float* values, int64_t count) {
  ForPieces(shared_, rank, offset, count,
            [&](int64_t done, float* to, int64_t length) { std::copy_n(values + done, length, to); });
}

absl::Status RankInbox::Begin(const SharedRows& shared) {
  shared_ = shared;
  ++round_;
  for (int rank = 0; rank < options_.ranks; ++rank) {
    Peer& peer = peers_[rank];
    const auto early = static_cast<int64_t>(peer.early.size());
    if (early > 0 && early != Expected(rank)) {
      error_ = absl::DataLossError(absl::StrFormat("call %d: rank %d shares %d values, this rank wants %d", round_,
                                                   rank, early, Expected(rank)));
      return error_;
    }
    Place(rank, 0, peer.early.data(), peer.early_received);
    peer.received = peer.early_received;
    peer.early.clear();
    peer.early_received = 0;
  }
  return status();
}

bool RankInbox::complete() const {
  for (int rank = 0; rank < options_.ranks; ++rank) {
    if (rank != options_.rank && peers_[rank].received < Expected(rank)) {
      return false;
    }
  }
  return true;
}

absl::Status RankInbox::status() const {
  if (!error_.ok()) {
    return error_;
  }
  for (int rank = 0; rank < options_.ranks && !shared_.bounds.empty(); ++rank) {
    if (peers_[rank].gone && peers_[rank].received < Expected(rank)) {
      return absl::UnavailableError(absl::StrFormat("rank %d left", rank));
    }
  }
  return absl::OkStatus();
}

bool RankInbox::IsOurs(const RankMessage& message) const {
  const std::string_view given(message.token, strnlen(message.token, RankMessage::kTokenBytes));
  return EqualInConstantTime(given, options_.token) && message.epoch == options_.epoch;
}

void RankInbox::Receive(std::string_view header, std::string_view data) {
  RankMessage message;
  if (header.size() == sizeof(message)) {
    std::memcpy(&message, header.data(), sizeof(message));
  }
  if (header.size() != sizeof(message) || !IsOurs(message)) {
    ++ignored_;
    return;
  }
  if (absl::Status status = Accept(message, data); !status.ok() && error_.ok()) {
    error_ = std::move(status);
  }
}

absl::Status RankInbox::Accept(const RankMessage& message, std::string_view data) {
  if (message.rank < 0 || message.rank >= options_.ranks || message.rank == options_.rank ||
      message.ranks != options_.ranks) {
    return absl::DataLossError(absl::StrFormat("a message of rank %d of %d to rank %d of %d", message.rank,
                                               message.ranks, options_.rank, options_.ranks));
  }
  Peer& peer = peers_[message.rank];
  if (message.kind == RankMessage::kGoodbye) {
    peer.gone = true;
    return absl::OkStatus();
  }
  const bool now = message.round == round_ && !shared_.bounds.empty();
  const int64_t total_max = now ? Expected(message.rank) : options_.floats_max;
  const int64_t received = now ? peer.received : peer.early_received;
  const bool fits = message.total >= 1 && message.total <= total_max && (!now || message.total == total_max) &&
                    message.count >= 1 && message.count <= RankMessage::kChunkFloats && message.offset == received &&
                    message.count <= message.total - message.offset &&
                    data.size() == static_cast<size_t>(message.count) * sizeof(float);
  const bool other = peer.early_received > 0 && message.total != static_cast<int64_t>(peer.early.size());
  if (message.kind != RankMessage::kChunk || !fits || (!now && (message.round != round_ + 1 || other))) {
    return absl::DataLossError(absl::StrFormat(
        "rank %d sent %d bytes for values %d+%d of %d in call %d; this rank is at call %d, has %d and takes at most %d",
        message.rank, data.size(), message.offset, message.count, message.total, message.round, round_, received,
        total_max));
  }
  if (now) {
    // The queue's memory is aligned for anything.
    Place(message.rank, message.offset, reinterpret_cast<const float*>(data.data()), message.count);
    peer.received += message.count;
  } else {
    peer.early.resize(message.total);
    std::memcpy(peer.early.data() + message.offset, data.data(), data.size());
    peer.early_received += message.count;
  }
  return absl::OkStatus();
}

}  // namespace barn
