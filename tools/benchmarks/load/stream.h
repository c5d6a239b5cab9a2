// A bidirectional stream that asks and is answered, one question at a time.
//
// Promises: one write and one read are under way at most; an end that nobody wanted is reported with the
// server's own words.
// Leaves to others: what is asked, and whether the answer is right (the subclass).
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "worker.h"

namespace bench {

template <typename Request, typename Response>
class Stream : public Worker {
 public:
  Stream(const Surroundings& surroundings, std::string method)
      : surroundings_(surroundings),
        method_(std::move(method)),
        stub_(surroundings.channel),
        started_([this](bool good) { Started(good); }),
        written_([this](bool good) { Written(good); }),
        read_([this](bool good) { Read(good); }),
        ended_([this](bool) { Ended(); }) {}

  void Open() override {
    Authorize(&context_, surroundings_.options);
    call_ = stub_.PrepareCall(&context_, method_, surroundings_.queue);
    call_->StartCall(const_cast<Tag*>(&started_));
  }

  void Begin() override {
    NextQuestion(&request_);
    Ask();
  }

 protected:
  // The first frame; false when the stream needs none.
  virtual bool Greeting(Request* request) = 0;
  // Throws std::runtime_error when the answer is not the one that opens the stream.
  virtual void Greeted(const Response& response) = 0;
  virtual void NextQuestion(Request* request) = 0;
  // Throws std::runtime_error when the answer is not the right one.
  virtual void CheckAnswer(const Response& response) = 0;

 private:
  void Started(bool good) {
    if (!good) return Finish();
    if (Greeting(&request_)) return Ask();
    open_ = true;
    surroundings_.host->Opened();
  }

  void Ask() {
    waits_for_ = 2;
    call_->Write(request_, const_cast<Tag*>(&written_));
    call_->Read(&response_, const_cast<Tag*>(&read_));
  }

  void Written(bool good) {
    if (good) Answered();  // when not, the read that is under way fails too
  }

  void Read(bool good) {
    if (!good) return Finish();
    try {
      open_ ? CheckAnswer(response_) : Greeted(response_);
    } catch (const std::runtime_error& error) {
      return surroundings_.host->Failed(this, error.what());
    }
    Answered();
  }

  void Answered() {
    if (--waits_for_ > 0) return;
    if (open_) return surroundings_.host->Done(this);
    open_ = true;
    surroundings_.host->Opened();
  }

  void Finish() { call_->Finish(&status_, const_cast<Tag*>(&ended_)); }

  void Ended() {
    surroundings_.host->Failed(this, "the stream ended with status " +
                                         std::to_string(status_.error_code()) + ": " +
                                         status_.error_message());
  }

  const Surroundings surroundings_;
  const std::string method_;
  grpc::TemplatedGenericStub<Request, Response> stub_;
  const Tag started_;
  const Tag written_;
  const Tag read_;
  const Tag ended_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>> call_;
  Request request_;
  Response response_;
  grpc::Status status_;
  bool open_ = false;
  int waits_for_ = 0;  // of the written question and its answer
};

}  // namespace bench
