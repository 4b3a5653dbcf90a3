#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/http/api_error.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/mailbox.h"
#include "coordinator/scheduler/request.h"

namespace barn {

// Turns the updates of one HTTP request into the bytes of its reply, in the words of one dialect. One thread.
class Answer {
 public:
  virtual ~Answer() = default;

  virtual bool streams() const = 0;

  // Takes one update. Returns bytes to send now; always "" unless the answer streams.
  virtual std::string Add(const ChoiceUpdate& update) = 0;

  // The text of this choice is complete, though the engine may still be generating.
  virtual bool done(size_t choice) const = 0;
  // All choices are complete, or one has failed.
  virtual bool done() const = 0;
  // Why the answer cannot be completed; null while all is well.
  virtual const ApiError* error() const = 0;

  // Streaming: the closing events. Otherwise: the whole body, after done() and without error().
  virtual std::string End() = 0;
  // Streaming: the event that tells of an error in place of End().
  virtual std::string Failure(const ApiError& error) const = 0;
  // Streaming: bytes that a client ignores, sent when there is nothing to say for long.
  virtual std::string KeepAlive() = 0;
  // Streaming: the content type.
  virtual absl::string_view StreamType() const { return "text/event-stream"; }
};

// What the engine shall do for a request, and who words the answer. requests[i] belongs to choice i.
struct GenerationJob {
  std::vector<GenerateRequest> requests;
  std::unique_ptr<Answer> answer;
  size_t at_once = SIZE_MAX;  // No more are with the engine at a time.
  std::string model = {};     // Whom the ledger shall name; empty: the served model.
};

// A route knows its reply at once, needs the engine, or has an error for the dialect to word.
using RouteResult = std::variant<HttpReply, GenerationJob, ApiError>;

}  // namespace barn
