// Device memory in page tables: whose it is to map, and what is nobody's. ISOLATION: page tables and cacheability, I/O
// mappings.
#include "guest.hpp"

#include "hypervisor/pv/page_types.hpp"

namespace domus::test {
namespace {

constexpr u64 local_apic = 0xfee00, device = 5, beyond_ram = fake::ram_frames + 100;
constexpr u64 beyond_addresses = u64{1} << (36 - page_shift); // the fake CPU has 36 address bits

class Devices : public MemoryTest {
protected:
    explicit Devices(bool privileged = false) : g(make_guest(64, privileged)) {
        static const bool once = (forbid_device_frames(Mfn(local_apic), Mfn(local_apic + 1)), true);
        static_cast<void>(once);
        as(g);
        t = build(g);
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    }
    ~Devices() override {
        expect_sound();
        destroy(g);
    }
    bool maps(u64 frame, u64 flags = rw, u32 foreign = DOMID_SELF) {
        const bool done = update_one(t.l1, 7, entry::make(Mfn(frame), flags), MMU_NORMAL_PT_UPDATE, foreign).ok();
        EXPECT_TRUE(update_one(t.l1, 7, 0));
        return done;
    }
    Guest g;
    Tables t{};
};

class Dom0Devices : public Devices {
protected:
    Dom0Devices() : Devices(true) {}
};

TEST_F(Devices, AreNotForGuests) {
    for (u64 frame : {device, u64{0xa0}, beyond_ram, local_apic, beyond_addresses, entry::frame_mask >> page_shift}) {
        for (u32 foreign : {u32{DOMID_SELF}, u32{DOMID_IO}}) {
            EXPECT_FALSE(maps(frame, rw, foreign)) << std::hex << frame;
            EXPECT_FALSE(maps(frame, ro, foreign)) << std::hex << frame;
        }
    }
}

TEST_F(Devices, NotByATableThatWasFilledBefore) {
    const Mfn l1 = g.frame();
    arch::zero_frame(l1);
    Guest::at(l1, 3) = entry::make(Mfn(beyond_ram), rw);
    EXPECT_FALSE(ext(MMUEXT_PIN_L1_TABLE, l1));
    EXPECT_FALSE(update_one(t.l2, 9, entry::make(l1, rw)));
}

TEST_F(Devices, RamKeepsItsCacheAttributes) {
    const Mfn data = g.frame();
    EXPECT_TRUE(maps(data.n));
    for (u64 attribute : {entry::cache_disable, entry::write_through, entry::large})
        EXPECT_FALSE(maps(data.n, rw | attribute));
}

TEST_F(Devices, TheHypervisorsRamIsNobodys) {
    const Mfn own = allocate_frames().value();
    EXPECT_FALSE(maps(own.n, ro));
    EXPECT_FALSE(maps(own.n, ro, DOMID_XEN));
    EXPECT_FALSE(maps(own.n, ro, DOMID_IO));
    free_frames(own);
}

TEST_F(Dom0Devices, AreDom0s) {
    for (u64 frame : {device, beyond_ram, beyond_addresses - 1}) {
        EXPECT_TRUE(maps(frame)) << std::hex << frame;
        EXPECT_TRUE(maps(frame, rw | entry::cache_disable, DOMID_IO)) << std::hex << frame;
    }
}

TEST_F(Dom0Devices, ButNotTheInterruptControllers) {
    EXPECT_FALSE(maps(local_apic));
    EXPECT_FALSE(maps(local_apic, ro, DOMID_IO));
    EXPECT_TRUE(maps(local_apic - 1));
    EXPECT_TRUE(maps(local_apic + 1));
}

TEST_F(Dom0Devices, AndNothingBeyondTheAddressesOfTheCpu) {
    for (u64 frame : {beyond_addresses, beyond_addresses + 1, entry::frame_mask >> page_shift})
        EXPECT_FALSE(maps(frame)) << "an entry with reserved bits set";
}

TEST_F(Dom0Devices, NorTheHypervisorsRam) {
    const Mfn own = allocate_frames().value();
    EXPECT_FALSE(maps(own.n));
    EXPECT_FALSE(maps(own.n, ro, DOMID_IO)) << "RAM is no device";
    free_frames(own);
}

TEST_F(Dom0Devices, CannotBeTables) {
    for (u64 frame : {device, beyond_ram}) {
        EXPECT_FALSE(update_one(t.l2, 9, entry::make(Mfn(frame), rw)));
        EXPECT_FALSE(ext(MMUEXT_PIN_L1_TABLE, Mfn(frame)));
        EXPECT_FALSE(ext(MMUEXT_NEW_BASEPTR, Mfn(frame)));
    }
}

} // namespace
} // namespace domus::test
