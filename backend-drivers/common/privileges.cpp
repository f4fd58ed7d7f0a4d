// See privileges.hpp; capabilities(7), and "no new privileges" of prctl(2).
#include "backend-drivers/common/privileges.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace domus::backend {

void keep_only(std::initializer_list<unsigned> capabilities) {
    std::uint64_t wanted = 0;
    for (const unsigned capability : capabilities) {
        wanted |= std::uint64_t{1} << capability;
    }
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct halves[_LINUX_CAPABILITY_U32S_3] = {};
    for (auto& half : halves) {
        half.effective = half.permitted = static_cast<std::uint32_t>(wanted);
        wanted >>= 32;
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::syscall(SYS_capset, &header, halves) != 0) {
        throw std::runtime_error(std::string("giving up root's rights: ") + std::strerror(errno));
    }
}

} // namespace domus::backend
