// domus-blockd-opener: opens media for domus-blockd, which starts it (opener.hpp).
#include <cstdio>

#include <sys/socket.h>

#include "backend-drivers/block/opener.hpp"

int main(int argc, char** argv) {
    int type = 0;
    socklen_t size = sizeof type;
    if (argc != 2 || ::getsockopt(domus::block::opener_socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        type != SOCK_SEQPACKET) {
        std::fputs("domus-blockd-opener opens media for domus-blockd, which starts it: it is not started by hand.\n",
                   stderr);
        return 2;
    }
    return domus::block::run_opener(argv[1]);
}
