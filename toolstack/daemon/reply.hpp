// What the hypervisor and the engine say, as messages of the API. Owner: dispatch.cpp. No lock. Pure.
#pragma once

#include "toolstack/engine/engine.hpp"

#include "domus.pb.h"

#include <string>

namespace domus::daemon {

proto::DomainState to_proto(const engine::Listed& domain);
proto::HostInfo to_proto(const client::PhysInfo& machine, const client::VersionInfo& version, unsigned scheduler,
                         const engine::Uname& host);
proto::BlockDevice to_proto(const engine::BlockState& disk);
proto::NetworkDevice to_proto(const engine::NetworkState& card);
/// Without the guest's name, which the store's node of the guest says.
proto::DeviceView to_proto(const engine::DeviceView& view);

/// `text` with every byte that is not UTF-8 replaced by '?', as protobuf's strings must be UTF-8.
std::string as_utf8(std::string text);

} // namespace domus::daemon
