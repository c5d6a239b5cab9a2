// A session on keypegd: opened with a real key agreement, every code of the server checked.
#pragma once

#include <memory>

#include "worker.h"

namespace bench {

enum class SessionWork {
  kRenew,        // renewals with a code
  kRenewSigned,  // renewals that ask for a signed Grant as well
  kSeat,         // acquire and release in turn
};

std::unique_ptr<Worker> MakeSessionStream(const Surroundings& surroundings, int number,
                                          SessionWork work);

}  // namespace bench
