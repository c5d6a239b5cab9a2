// A method of unary calls, called once at a time.
//
// Promises: an answer goes to who asked; a status other than OK, and what who asked throws, fails the worker.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "worker.h"

namespace bench {

template <typename Request, typename Response>
class Method {
 public:
  using Answer = std::function<void(const Response&)>;

  Method(const Surroundings& surroundings, Worker* worker, std::string name, Answer answered)
      : surroundings_(surroundings),
        worker_(worker),
        name_(std::move(name)),
        answered_(std::move(answered)),
        stub_(surroundings.channel),
        finished_([this](bool) { Finished(); }) {}

  void Call(const Request& request) {
    context_.emplace();
    Authorize(&*context_, surroundings_.options);
    call_ = stub_.PrepareUnaryCall(&*context_, name_, request, surroundings_.queue);
    call_->StartCall();
    call_->Finish(&response_, &status_, const_cast<Tag*>(&finished_));
  }

 private:
  void Finished() {
    Host* host = surroundings_.host;
    if (!status_.ok()) {
      return host->Failed(worker_, name_ + " failed with status " +
                                       std::to_string(status_.error_code()) + ": " +
                                       status_.error_message());
    }
    try {
      answered_(response_);
    } catch (const std::runtime_error& error) {
      host->Failed(worker_, error.what());
    }
  }

  const Surroundings surroundings_;
  Worker* const worker_;
  const std::string name_;
  const Answer answered_;
  grpc::TemplatedGenericStub<Request, Response> stub_;
  const Tag finished_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> call_;
  Response response_;
  grpc::Status status_;
};

}  // namespace bench
