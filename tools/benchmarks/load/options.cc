#include "options.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

namespace bench {
namespace {

[[noreturn]] void Refuse(const std::string& sentence) {
  std::fprintf(stderr, "load: %s\n", sentence.c_str());
  std::exit(2);
}

std::string Take(std::map<std::string, std::string>* given, const std::string& name) {
  const auto found = given->find(name);
  if (found == given->end()) Refuse("--" + name + " is missing.");
  std::string value = found->second;
  given->erase(found);
  return value;
}

int TakeCount(std::map<std::string, std::string>* given, const std::string& name) {
  const std::string text = Take(given, name);
  const int value = std::atoi(text.c_str());
  if (value < 1) Refuse("--" + name + " is a number from 1, not " + text + ".");
  return value;
}

}  // namespace

Options ReadOptions(int count, char** arguments) {
  std::map<std::string, std::string> given;
  for (int i = 1; i < count; i += 2) {
    const std::string name = arguments[i];
    if (name.rfind("--", 0) != 0 || i + 1 == count) Refuse("options are pairs of --name value.");
    given[name.substr(2)] = arguments[i + 1];
  }
  Options options;
  options.target = Take(&given, "target");
  const std::string ca_file = Take(&given, "ca");
  std::ifstream ca(ca_file);
  if (!ca) Refuse(ca_file + " can not be read.");
  options.ca.assign(std::istreambuf_iterator<char>(ca), {});
  options.work = Take(&given, "work");
  options.connections = TakeCount(&given, "connections");
  options.workers = TakeCount(&given, "workers");
  options.opened = TakeCount(&given, "opened");
  options.outstanding = TakeCount(&given, "outstanding");
  options.product = Take(&given, "product");
  options.pool = Take(&given, "pool");
  if (!given.empty()) Refuse("there is no option --" + given.begin()->first + ".");
  if (const char* token = std::getenv("KEYPEG_TOKEN")) options.token = token;
  return options;
}

}  // namespace bench
