// Between the model's plain structs and protobuf messages. Owner: the daemon and the command line. No lock. Pure.
#pragma once

#include "toolstack/model/domain.hpp"

#include "domus.pb.h"

namespace domus::proto {

DomainConfig to_proto(const model::Domain& domain);
Disk to_proto(const model::Disk& disk);
Vif to_proto(const model::Vif& vif);

/// Throw model::ValueError when a field holds what the model has no value for; call model::validate() on the result
/// of a message that came from elsewhere.
model::Domain to_model(const DomainConfig& config);
model::Disk to_model(const Disk& disk);
model::Vif to_model(const Vif& vif);

} // namespace domus::proto
