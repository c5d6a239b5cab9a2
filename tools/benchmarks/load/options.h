// What a load is told on its command line: pairs of `--name value`.
#pragma once

#include <string>

namespace bench {

struct Options {
  std::string target;           // host:port
  std::string ca;               // PEM text
  std::string token;            // of the environment, so that no list of processes shows it
  std::string work;             // see MakeWorker
  int connections = 1;          // TLS connections
  int workers = 1;              // streams held, or callers of unary calls
  int opened = 1;               // of these workers, before the first command
  int outstanding = 1;          // operations under way at once, at most
  std::string product;          // to open sessions for
  std::string pool;             // to take seats from
};

// Exits with a sentence when something is missing, unknown or unreadable.
Options ReadOptions(int count, char** arguments);

}  // namespace bench
