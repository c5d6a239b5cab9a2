#include "session.h"

#include <unistd.h>

namespace bench {
namespace {

constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kNonceBytes = 32;

}  // namespace

uint64_t Microseconds(const google::protobuf::Duration& duration) {
  return static_cast<uint64_t>(duration.seconds()) * 1'000'000 + duration.nanos() / 1'000;
}

Session::Session(const Surroundings& surroundings, int number)
    : Stream(surroundings, "/keypeg.v1.SessionService/HoldSession"), number_(number) {}

bool Session::Greeting(Request* request) {
  if (opened()) return false;
  share_ = std::make_unique<KeyShare>();
  nonce_ = RandomBytes(kNonceBytes);
  auto* open = request->mutable_open();
  open->set_sequence(NextSequence());
  open->set_protocol_version(kProtocolVersion);
  open->mutable_device()->set_id("device-load-" + std::to_string(number_));
  open->mutable_device()->set_host_name("load-" + std::to_string(number_));
  open->mutable_app()->set_name("load");
  open->mutable_app()->set_version("1.0");
  open->mutable_app()->set_sdk("keypeg-bench/1");
  open->mutable_app()->set_process_id(static_cast<uint32_t>(getpid()));
  open->set_product(surroundings_.options.product);
  open->set_nonce(nonce_);
  open->set_key_share(share_->public_bytes());
  return true;
}

void Session::Greeted(const Response& response) {
  Require(response.has_opened(), Described(response));
  const auto& opened = response.opened();
  codes_.emplace(share_->Agree(opened.key_share(), nonce_, opened.session()));
  share_.reset();
  const std::string expected =
      codes_->Opened(opened.sequence(), opened.session(), Microseconds(opened.valid_for()));
  Require(opened.sequence() == sequence_ && opened.mac() == expected, "the code of `opened` is wrong");
}

void Session::AskAcquire(keypeg::v1::Acquire* acquire, bool wait) {
  request_id_ = NewRequestId();
  acquire_sequence_ = NextSequence();
  acquire->set_sequence(acquire_sequence_);
  acquire->set_request_id(request_id_);
  acquire->set_pool(surroundings_.options.pool);
  acquire->set_units(1);
  acquire->set_priority(wait ? 0 : Priority(number_));
  acquire->set_wait(wait);
}

std::string Session::CheckedLease(const Response& response) const {
  Require(response.has_acquired(), Described(response));
  const auto& acquired = response.acquired();
  Require(acquired.sequence() == acquire_sequence_ && acquired.request_id() == request_id_,
          "`acquired` answers another frame");
  Require(acquired.mac() == codes_->Acquired(acquire_sequence_, request_id_, acquired.lease()),
          "the code of `acquired` is wrong");
  return acquired.lease().name();
}

std::string Session::Described(const Response& response) {
  if (response.has_denied()) return "the server denied: " + response.denied().explanation().sentence();
  return "the server answered with frame " + std::to_string(response.frame_case());
}

void Session::Require(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what);
}

}  // namespace bench
