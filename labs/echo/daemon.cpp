// echod: the echo device's backend as a program for dom0. The frame is backend-drivers/common/daemon.hpp.
#include "backend-drivers/common/daemon.hpp"
#include "labs/echo/backend.hpp"

namespace {

namespace backend = domus::backend;

class EchoService final : public backend::Service {
public:
    Words words() const override {
        return {"echod", "Serves the echo devices of docs/writing-a-driver.md.", domus::echo::backend_type,
                "echo devices", "root"}; // a lab: a real daemon has a user of its own, whom the store knows (peer.hpp)
    }
    std::unique_ptr<backend::Driver> make_driver(backend::Device& device, const Files&) override {
        return std::make_unique<domus::echo::EchoDriver>(device);
    }
};

} // namespace

int main(int argc, char** argv) {
    EchoService service;
    return backend::run_service(service, argc, argv);
}
