// Only in ThreadSanitizer builds. Debian's gRPC is compiled without it, so the tool sees neither the atomics that order
// gRPC's own objects nor most of what happens to them. Our code, also in gRPC's callbacks, is checked as ever.

// Memory functions called from libraries that are not instrumented are not accesses of ours.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

// What gRPC's headers compile into our programs. race_top looks at the innermost function only, so that a race in a
// callback of ours, which gRPC calls, is still reported; the other functions call nothing of ours (it has no
// interceptors).
extern "C" const char* __tsan_default_suppressions() {
  return "race_top:^grpc::\n"
         "race_top:grpcpp/\n"
         "race:grpc::internal::CallbackWithSuccessTag::Clear\n"
         "race:grpc::internal::InterceptorBatchMethodsImpl::\n"
         "race:::ServerCallbackReaderImpl::~ServerCallbackReaderImpl\n"
         "race:::ServerCallbackReaderWriterImpl::~ServerCallbackReaderWriterImpl\n";
}
