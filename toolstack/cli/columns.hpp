// Answers as text in xl's columns. Owner: the command line. No lock. Pure.
#pragma once

#include "domus.pb.h"

#include <string>

namespace domus::cli {

std::string list_text(const proto::DomainList& list);
std::string info_text(const proto::HostInfo& info);
std::string counters_text(const proto::Counters& counters);
std::string blocks_text(const proto::BlockList& list);
std::string networks_text(const proto::NetworkList& list);

} // namespace domus::cli
