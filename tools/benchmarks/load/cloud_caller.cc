#include "cloud_caller.h"

#include <stdexcept>
#include <string>

#include "crypto.h"
#include "keypeg/v1/cloud_session_service.pb.h"
#include "unary_method.h"

namespace bench {
namespace {

using keypeg::v1::CloseCloudSessionRequest;
using keypeg::v1::CloseCloudSessionResponse;
using keypeg::v1::CloudSession;
using keypeg::v1::GetCloudSessionRequest;
using keypeg::v1::GetCloudSessionResponse;
using keypeg::v1::OpenCloudSessionRequest;
using keypeg::v1::OpenCloudSessionResponse;

class CloudCaller final : public Worker {
 public:
  CloudCaller(const Surroundings& surroundings, int number, CloudWork work)
      : surroundings_(surroundings),
        work_(work),
        name_(surroundings.options.pool + std::to_string(number) + "/cloudSession"),
        get_(surroundings, this, "/keypeg.v1.CloudSessionService/GetCloudSession",
             [this](const GetCloudSessionResponse& response) { Found(response); }),
        open_(surroundings, this, "/keypeg.v1.CloudSessionService/OpenCloudSession",
              [this](const OpenCloudSessionResponse& response) { Opened(response); }),
        close_(surroundings, this, "/keypeg.v1.CloudSessionService/CloseCloudSession",
               [this](const CloseCloudSessionResponse& response) { Closed(response); }) {}

  void Open() override { surroundings_.host->Opened(); }

  void Begin() override {
    if (work_ == CloudWork::kCheck) {
      GetCloudSessionRequest request;
      request.set_name(name_);
      get_.Call(request);
    } else if (work_ == CloudWork::kOpen && held_) {
      CloseCloudSessionRequest request;
      request.set_name(name_);
      request.set_request_id(NewRequestId());
      FillDevice(request.mutable_device());
      close_.Call(request);
    } else {
      if (work_ == CloudWork::kMove) device_ = device_ == "device-left" ? "device-right" : "device-left";
      OpenCloudSessionRequest request;
      request.set_name(name_);
      request.set_request_id(NewRequestId());
      FillDevice(request.mutable_device());
      open_.Call(request);
    }
  }

 private:
  void FillDevice(keypeg::v1::Device* device) const {
    device->set_id(device_);
    device->set_host_name(device_);
  }

  void Require(bool good, const char* what) const {
    if (!good) throw std::runtime_error(name_ + ": " + what);
  }

  void Found(const GetCloudSessionResponse& response) {
    Require(response.cloud_session().name() == name_, "another one was shown");
    surroundings_.host->Done(this);
  }

  void Opened(const OpenCloudSessionResponse& response) {
    const CloudSession& session = response.cloud_session();
    Require(session.device() == device_, "it is not open where it was opened");
    Require(session.activations_size() == 1, "its license is not in the cloud");
    Require(work_ != CloudWork::kMove || response.moved_from_host_name() != device_, "it did not move");
    held_ = true;
    surroundings_.host->Done(this);
  }

  void Closed(const CloseCloudSessionResponse& response) {
    const CloudSession& session = response.cloud_session();
    Require(session.device().empty(), "it is not closed");
    Require(session.activations_size() == 0, "its license is not free");
    held_ = false;
    surroundings_.host->Done(this);
  }

  const Surroundings surroundings_;
  const CloudWork work_;
  const std::string name_;
  std::string device_ = "device-left";
  bool held_ = false;
  Method<GetCloudSessionRequest, GetCloudSessionResponse> get_;
  Method<OpenCloudSessionRequest, OpenCloudSessionResponse> open_;
  Method<CloseCloudSessionRequest, CloseCloudSessionResponse> close_;
};

}  // namespace

std::unique_ptr<Worker> MakeCloudCaller(const Surroundings& surroundings, int number, CloudWork work) {
  return std::make_unique<CloudCaller>(surroundings, number, work);
}

}  // namespace bench
