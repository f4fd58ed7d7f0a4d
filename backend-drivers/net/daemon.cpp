// domus-netd: serves the network cards of all guests that have backendtype=domus. The frame is common/daemon.hpp.
#include <linux/capability.h>

#include "backend-drivers/common/daemon.hpp"
#include "backend-drivers/net/vif.hpp"

namespace {

namespace backend = domus::backend;

class NetService final : public backend::Service {
public:
    Words words() const override {
        return {"domus-netd", "Serves the network cards of Domus' guests that have backendtype=domus, on tap devices.",
                domus::net::device_type, "network cards", "domus-netd"};
    }
    std::vector<unsigned> capabilities() const override {
        return {CAP_NET_ADMIN}; // makes tap devices and puts them on bridges
    }
    std::unique_ptr<backend::Driver> make_driver(backend::Device& device, const Files& files) override {
        return std::make_unique<domus::net::Vif>(device, *network_, files.figures);
    }

private:
    std::unique_ptr<domus::net::Network> network_ = domus::net::open_network();
};

} // namespace

int main(int argc, char** argv) {
    NetService service;
    return backend::run_service(service, argc, argv);
}
