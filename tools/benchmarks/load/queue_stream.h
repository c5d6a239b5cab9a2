// Sessions that all wait for one seat, which goes from one to the next.
#pragma once

#include <memory>

#include "worker.h"

namespace bench {

// An operation is one turn: whoever has the seat gives it back, the next in the queue gets it (that is when
// the operation has ended, for its latency), and the former holder waits again at the end of the queue. One
// turn is under way at a time. The pool has one seat for them.
std::unique_ptr<Worker> MakeQueueStream(const Surroundings& surroundings, int number);

}  // namespace bench
