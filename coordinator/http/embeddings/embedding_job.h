#pragma once

#include <cstdint>
#include <memory>

#include "coordinator/http/embeddings/embedding_answer.h"
#include "coordinator/http/embeddings/embedding_request.h"
#include "coordinator/http/generation_job.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

using MakeEmbeddingAnswer = std::unique_ptr<Answer> (*)(EmbeddingAnswerOptions options);

// Turns a request into prompts and the writer of its answer; `request` has inputs. Errors: 404 for another model, 400
// for token ids outside the vocabulary, an empty input, more dimensions than the model has, or (code
// context_length_exceeded, with both numbers) an input that does not fit; 503 while the context is not known.
JobResult EmbeddingJob(const ServedModel& model, const EngineState& engine, const EmbeddingRequest& request,
                       MakeEmbeddingAnswer make_answer);

// The same for query and document in pairs; 400 for a model without a classification head of one label.
JobResult RerankJob(const ServedModel& model, const EngineState& engine, const RerankRequest& request);

}  // namespace barn
