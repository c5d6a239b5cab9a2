// A stream of the bare echo: frames of a session's shape and size that come back as they were.
#pragma once

#include <memory>

#include "worker.h"

namespace bench {

enum class EchoFrame {
  kRenew,    // as large as a renewal
  kAcquire,  // as large as an acquire
};

std::unique_ptr<Worker> MakeEchoStream(const Surroundings& surroundings, int number, EchoFrame frame);

}  // namespace bench
