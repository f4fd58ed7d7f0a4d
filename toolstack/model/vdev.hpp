// Virtual disk names and their numbers on the wire, after xen-vbd-interface(7).
// Owner: model/. No lock. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace domus::model {

/// The number of `vdev` ("xvda", "xvdb2", "sda1", "hdc", "d3p1", or a bare number) as the `virtual-device` node
/// and the device directory's name have it. Throws ValueError with advice.
std::uint32_t vdev_number(std::string_view vdev);

/// The name of a number: "xvda1" for xvd numbers, sdX and hdX for theirs; the number itself where no name leads back to
/// it (xvda written as an extended number).
std::string vdev_name(std::uint32_t number);

} // namespace domus::model
