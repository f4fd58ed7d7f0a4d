// See nbd_library.hpp.
#include "backend-drivers/block/nbd_library.hpp"

#include <stdexcept>
#include <string>

#include <dlfcn.h>

namespace domus::block {
namespace {

template <class Function>
void find(void* library, const char* name, Function& function) {
    void* const address = ::dlsym(library, name);
    if (address == nullptr) {
        throw std::runtime_error(std::string("libnbd.so.0 has no ") + name + ": it is too old; 1.14 is enough");
    }
    function = reinterpret_cast<Function>(address);
}

NbdLibrary load() {
    void* const library = ::dlopen("libnbd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        throw std::runtime_error(std::string("NBD disks need libnbd in dom0, which cannot be loaded (") + ::dlerror() +
                                 "); install Debian's package libnbd0");
    }
    NbdLibrary found;
#define DOMUS_NBD_FIND(name) find(library, "nbd_" #name, found.name);
    DOMUS_NBD_FUNCTIONS(DOMUS_NBD_FIND)
#undef DOMUS_NBD_FIND
    return found;
}

} // namespace

const NbdLibrary& NbdLibrary::get() {
    static const NbdLibrary library = load();
    return library;
}

} // namespace domus::block
