// libnbd, loaded when the daemon starts, where it is installed: with its own libraries (TLS, XML) it is larger than all
// of dom0's programs of Domus together, and a dom0 without NBD disks shall do without. Owner: NbdStorages. No lock.
#pragma once

#include <libnbd.h>

namespace domus::block {

// The functions that are used, by their names in libnbd(3).
#define DOMUS_NBD_FUNCTIONS(use)                                                                                       \
    use(create) use(close) use(get_error) use(aio_connect_uri) use(aio_connect_socket) use(set_export_name)            \
        use(aio_get_fd) use(aio_get_direction) use(aio_notify_read) use(aio_notify_write) use(aio_is_connecting)       \
            use(aio_is_ready) use(aio_is_processing) use(aio_pread) use(aio_pwrite) use(aio_flush) use(aio_trim)       \
                use(aio_disconnect) use(get_size) use(get_block_size) use(is_read_only) use(can_flush) use(can_trim)

struct NbdLibrary {
#define DOMUS_NBD_MEMBER(name) decltype(&::nbd_##name) name = nullptr;
    DOMUS_NBD_FUNCTIONS(DOMUS_NBD_MEMBER)
#undef DOMUS_NBD_MEMBER

    /// The one of this process. Throws std::runtime_error: it is not installed.
    static const NbdLibrary& get();
};

} // namespace domus::block
