#include "echo_stream.h"

#include <string>

#include "crypto.h"
#include "keypeg/v1/session_service.pb.h"
#include "stream.h"

namespace bench {
namespace {

using keypeg::v1::HoldSessionRequest;

constexpr size_t kMacBytes = 16;

class EchoStream final : public Stream<HoldSessionRequest, HoldSessionRequest> {
 public:
  EchoStream(const Surroundings& surroundings, int number, EchoFrame frame)
      : Stream(surroundings, "/keypeg.bench.Floor/Echo"),
        number_(number),
        frame_(frame),
        mac_(RandomBytes(kMacBytes)) {}

 protected:
  // One frame there and back, so that a stream that counts as open is open on both sides.
  bool Greeting(HoldSessionRequest* request) override {
    if (sequence_ > 0) return false;
    NextQuestion(request);
    return true;
  }

  void Greeted(const HoldSessionRequest& response) override { CheckAnswer(response); }

  void NextQuestion(HoldSessionRequest* request) override {
    ++sequence_;
    if (frame_ == EchoFrame::kRenew) {
      request->mutable_renew()->set_sequence(sequence_);
      request->mutable_renew()->set_mac(mac_);
      return;
    }
    auto* acquire = request->mutable_acquire();
    acquire->set_sequence(sequence_);
    acquire->set_request_id(NewRequestId());
    acquire->set_pool(surroundings_.options.pool);
    acquire->set_units(1);
    acquire->set_priority(Priority(number_));
  }

  void CheckAnswer(const HoldSessionRequest& response) override {
    const uint64_t sequence = frame_ == EchoFrame::kRenew ? response.renew().sequence()
                                                          : response.acquire().sequence();
    if (sequence != sequence_) throw std::runtime_error("the echo is another frame's");
  }

 private:
  const int number_;
  const EchoFrame frame_;
  const std::string mac_;
  uint64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<Worker> MakeEchoStream(const Surroundings& surroundings, int number, EchoFrame frame) {
  return std::make_unique<EchoStream>(surroundings, number, frame);
}

}  // namespace bench
