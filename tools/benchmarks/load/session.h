// The app's side of a session on keypegd: its opening, with a real key agreement, and its acquires.
//
// Promises: every code of the server is checked.
// Leaves to others: what is asked once it is open (the subclass).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "crypto.h"
#include "keypeg/v1/session_service.pb.h"
#include "stream.h"

namespace bench {

class Session : public Stream<keypeg::v1::HoldSessionRequest, keypeg::v1::HoldSessionResponse> {
 protected:
  using Request = keypeg::v1::HoldSessionRequest;
  using Response = keypeg::v1::HoldSessionResponse;

  Session(const Surroundings& surroundings, int number);

  bool Greeting(Request* request) override;
  void Greeted(const Response& response) override;

  bool opened() const { return codes_.has_value(); }
  uint64_t NextSequence() { return ++sequence_; }
  void AskAcquire(keypeg::v1::Acquire* acquire, bool wait);
  // Throws unless it answers the last AskAcquire; its lease.
  std::string CheckedLease(const Response& response) const;

  // What a frame that was not expected says.
  static std::string Described(const Response& response);
  static void Require(bool good, const std::string& what);

  const int number_;
  uint64_t sequence_ = 0;
  uint64_t acquire_sequence_ = 0;
  std::string request_id_;  // of the last acquire
  std::string nonce_;
  std::optional<FrameAuthenticator> codes_;

 private:
  std::unique_ptr<KeyShare> share_;
};

uint64_t Microseconds(const google::protobuf::Duration& duration);

}  // namespace bench
