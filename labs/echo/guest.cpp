// A mini guest with an echo device: what is typed on its console comes back in capital letters, from dom0.
#include "frontend-drivers/guestkit/app.hpp"
#include "labs/echo/frontend.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

Task<Result<void>> talk(Kit& kit) {
    CO_LET(id, co_await Frontend::find(kit, echo::frontend_kind));
    echo::Echo device(kit, id);
    CO_CHECK(co_await device.connect());
    print("echo: connected; an empty line ends it\n");
    Text<256> line;
    for (;;) {
        co_await own_console().read_line(line);
        if (line.view().empty())
            break;
        char text[256];
        const auto length = line.view().copy(text, sizeof text);
        const std::span said(text, length);
        CO_CHECK(co_await device.shout(said));
        print("%.*s\n", static_cast<int>(length), text);
    }
    co_return co_await device.close();
}

} // namespace

Task<void> app(Kit& kit) {
    const auto result = co_await talk(kit);
    print("echo: done %d\n", static_cast<int>(result.error()));
}
