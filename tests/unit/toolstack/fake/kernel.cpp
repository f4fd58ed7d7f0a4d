// dom0's backend drivers and the guests' frontends. See kernel.hpp.
#include "tests/unit/toolstack/fake/kernel.hpp"

#include "toolstack/engine/xenbus.hpp"

namespace domus::engine::test {

namespace {

std::string interface_of(std::uint16_t domid, std::uint32_t devid) {
    return fmt::format("vif{}.{}", domid, devid);
}

} // namespace

void FakeKernel::react() {
    for (bool moved = true; moved;) {
        moved = false;
        for (const auto& home : store_.children("/local/domain"))
            moved |= react_in(std::uint16_t(*to_number(home)));
    }
    // A directory that is removed ends its device.
    for (const auto& [device, node] : std::map(host_.opened))
        if (!alive("vbd", device.first, device.second))
            take_down("vbd", device.first, device.second);
    for (const auto& device : std::set(cards_))
        if (!alive("vif", device.first, device.second) && !alive("domus-vif", device.first, device.second))
            take_down("vif", device.first, device.second);
}

/// Backends of dom0, or of a driver domain.
bool FakeKernel::react_in(std::uint16_t home) {
    bool moved = false;
    for (const std::string kind : {"vbd", "domus-vbd", "vif", "domus-vif"}) {
        const std::string path = fmt::format("/local/domain/{}/backend/{}", home, kind);
        for (const auto& domid : store_.children(path))
            for (const auto& devid : store_.children(path + "/" + domid))
                moved |= step(kind, std::uint16_t(*to_number(domid)), *to_number(devid), home);
    }
    return moved;
}

bool FakeKernel::alive(const std::string& kind, std::uint16_t domid, std::uint32_t devid) const {
    return store_.read(backend_path(kind, domid, devid) + "/state").has_value();
}

/// One move of one device; false when it rests.
bool FakeKernel::step(const std::string& kind, std::uint16_t domid, std::uint32_t devid, std::uint16_t home) {
    const std::string back = backend_path(kind, domid, devid, home), front = frontend_path(kind, domid, devid);
    const auto backend = store_.read(back + "/state"), frontend = store_.read(front + "/state");
    const auto move = [&](const std::string& path, const char* state) {
        store_.write(path + "/state", state);
        return true;
    };
    if (backend == "1" && !refusal.empty()) {
        store_.write(fmt::format("/local/domain/{}/error/backend/{}/{}/{}/error", home, kind, domid, devid), refusal);
        return move(back, "6");
    }
    if (backend == "1" && takes_devices) {
        if (kind != "vbd" && kind != "domus-vbd" && home == 0)
            set_up(kind, domid, devid);
        return move(back, "2");
    }
    const bool plugged = kind != "vbd" || store_.read(back + "/physical-device");
    if (backend == "2" && kind == "vbd" && plugged && opens_disks)
        set_up(kind, domid, devid);
    const bool hotplugged = kind.starts_with("domus-") || store_.read(back + "/hotplug-status") == "connected";
    if (backend == "2" && frontend == "1" && guests_connect && hotplugged)
        return move(front, "4");
    if (backend == "2" && frontend == "4")
        return move(back, "4");
    if (backend == "5" && frontend == "4" && guests_let_go)
        return move(front, "6");
    if (backend == "5" && frontend != "4" && backends_close) {
        if (home == 0)
            take_down(kind, domid, devid);
        return move(back, "6");
    }
    return false;
}

void FakeKernel::set_up(const std::string& kind, std::uint16_t domid, std::uint32_t devid) {
    if (kind == "vbd") {
        host_.opened.emplace(std::pair(domid, devid),
                             store_.read(backend_path(kind, domid, devid) + "/node").value_or(""));
    } else if (makes_interfaces) {
        const auto name = kind == "vif" ? std::nullopt : store_.read(backend_path(kind, domid, devid) + "/vifname");
        host_.interfaces.insert(name.value_or(interface_of(domid, devid)));
        if (name)
            host_.names[interface_of(domid, devid)] = *name;
        cards_.emplace(domid, devid);
    }
}

void FakeKernel::take_down(const std::string& kind, std::uint16_t domid, std::uint32_t devid) {
    if (kind == "domus-vbd")
        return;
    if (kind == "vbd") {
        host_.opened.erase({domid, devid});
        return;
    }
    const std::string name = interface_of(domid, devid);
    const auto renamed = host_.names.find(name);
    host_.interfaces.erase(renamed == host_.names.end() ? name : renamed->second);
    cards_.erase({domid, devid});
}

} // namespace domus::engine::test
