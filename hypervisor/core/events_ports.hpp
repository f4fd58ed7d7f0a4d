// The life of ports, for core/events*.cpp. Lock: each function takes Rank::Events itself unless it has a PortTable.
#pragma once

#include "hypervisor/core/events_state.hpp"

namespace domus::hv {

Port& open_port(PortTable&, PortNo, PortKind); // a port from take_port()

Result<PortNo> allocate_unbound(Domain&, DomId remote);
// Err::Inval: that port is not unbound, or does not wait for us.
Result<PortNo> connect(Domain&, Domain& remote, PortNo remote_port);

// Close open ports from number `cursor` on, `at_most` of them. True: reached the end.
bool close_ports_from(Domain&, u32& cursor, u32 at_most);

void forget_virq_handler(const Domain&); // core/events_virq.cpp

} // namespace domus::hv
