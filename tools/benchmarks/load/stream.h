// A bidirectional stream that asks and is answered, one question at a time.
//
// Promises: one write is under way at most, and one read always, so that what the server says by itself is
// heard; an end that nobody wanted is reported with the server's own words.
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
  // The next question that opens the stream; false when it is open.
  virtual bool Greeting(Request* request) = 0;
  // Throws std::runtime_error when the answer is not the one that opens the stream.
  virtual void Greeted(const Response& response) = 0;
  // Whether this frame answers no question, and was handled. Throws like CheckAnswer.
  virtual bool Aside(const Response&) { return false; }
  virtual void NextQuestion(Request* request) = 0;
  // Throws std::runtime_error when the answer is not the right one.
  virtual void CheckAnswer(const Response& response) = 0;
  // The question was answered, and the stream can ask again.
  virtual void Finished() { surroundings_.host->Done(this); }

  const Surroundings surroundings_;

 private:
  void Started(bool good) {
    if (!good) return Finish();
    Listen();
    Greet();
  }

  void Greet() {
    if (Greeting(&request_)) return Ask();
    open_ = true;
    surroundings_.host->Opened();
  }

  void Listen() { call_->Read(&response_, const_cast<Tag*>(&read_)); }

  void Ask() {
    waits_for_ = 2;
    asking_ = true;
    call_->Write(request_, const_cast<Tag*>(&written_));
  }

  void Written(bool good) {
    if (good) Answered();  // when not, the read that is under way fails too
  }

  void Read(bool good) {
    if (!good) return Finish();
    bool answer = false;
    try {
      answer = !Aside(response_);
      if (answer && !asking_) throw std::runtime_error("a frame came that nobody had asked for");
      if (answer) open_ ? CheckAnswer(response_) : Greeted(response_);
    } catch (const std::runtime_error& error) {
      return surroundings_.host->Failed(this, error.what());
    }
    Listen();
    if (!answer) return;
    asking_ = false;
    Answered();
  }

  void Answered() {
    if (--waits_for_ > 0) return;
    open_ ? Finished() : Greet();
  }

  void Finish() { call_->Finish(&status_, const_cast<Tag*>(&ended_)); }

  void Ended() {
    surroundings_.host->Failed(this, "the stream ended with status " +
                                         std::to_string(status_.error_code()) + ": " +
                                         status_.error_message());
  }

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
  bool asking_ = false;  // there is no answer yet
  int waits_for_ = 0;    // of the written question and its answer
};

}  // namespace bench
