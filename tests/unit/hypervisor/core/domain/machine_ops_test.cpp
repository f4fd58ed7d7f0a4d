// platform_op and physdev_op: what dom0 may ask of the machine, and what guests may not.
#include "world.hpp"

#include <random>

namespace domus::test {
namespace {

struct MachineOpsTest : DomainTest {
    Result<i64> platform(u32 command, xen_platform_op_t& op, u32 version = XENPF_INTERFACE_VERSION) {
        op.cmd = command;
        op.interface_version = version;
        const u64 at = put(op);
        Call c = call();
        auto result = platform_op(c, GuestPtr<xen_platform_op_t>{at});
        op = get<xen_platform_op_t>();
        return result;
    }
    template <class T>
    Result<i64> physdev(u32 command, const T& argument) {
        const u64 at = put(argument);
        Call c = call();
        return physdev_op(c, command, GuestPtr<void>{at});
    }
};

TEST_F(MachineOpsTest, PlatformPrivilegeVersionUnknown) {
    xen_platform_op_t op{};
    EXPECT_EQ(platform(XENPF_get_cpuinfo, op, 1).error(), Err::Access);
    EXPECT_EQ(platform(9999, op).error(), Err::NoSys);
    for (u32 command : {XENPF_microcode_update, XENPF_efi_runtime_call, XENPF_cpu_online, XENPF_resource_op,
                        XENPF_get_symbol, XENPF_set_processor_pminfo, XENPF_add_memtype})
        EXPECT_EQ(platform(command, op).error(), Err::NoSys) << command;
    const u16 id = create();
    {
        const DomainRef guest = domain(id);
        Call c{*guest->vcpus[0], *guest, {}};
        EXPECT_EQ(platform_op(c, GuestPtr<xen_platform_op_t>{put(op)}).error(), Err::Perm);
    }
    destroy_it(id);
    Call c = call();
    EXPECT_EQ(platform_op(c, GuestPtr<xen_platform_op_t>{0xdead0000}).error(), Err::Fault);
}

TEST_F(MachineOpsTest, MachineChecksAreNeverThereButTheirLogStarts) {
    const auto ask = [&](u32 command, xen_mc_t& op, u32 version = XEN_MCA_INTERFACE_VERSION) {
        op.cmd = command;
        op.interface_version = version;
        const u64 at = put(op);
        Call c = call();
        auto result = mca(c, GuestPtr<xen_mc_t>{at});
        op = get<xen_mc_t>();
        return result;
    };
    xen_mc_t op{};
    EXPECT_EQ(ask(XEN_MC_physcpuinfo, op, 1).error(), Err::Access);
    EXPECT_EQ(ask(XEN_MC_mceinject, op).error(), Err::NoSys);
    EXPECT_EQ(ask(77, op).error(), Err::NoSys);
    ASSERT_TRUE(ask(XEN_MC_physcpuinfo, op)); // without a list, as Linux asks first
    EXPECT_EQ(op.u.mc_physcpuinfo.ncpus, arch::cpu_count());
    op = {};
    op.u.mc_physcpuinfo.ncpus = ~0u; // a list at no address
    op.u.mc_physcpuinfo.info.p = reinterpret_cast<xen_mc_logical_cpu_t*>(0xdead0000);
    EXPECT_EQ(ask(XEN_MC_physcpuinfo, op).error(), Err::Fault);
    op = {};
    op.u.mc_fetch.flags = XEN_MC_URGENT;
    ASSERT_TRUE(ask(XEN_MC_fetch, op));
    EXPECT_EQ(op.u.mc_fetch.flags, u32{XEN_MC_NODATA});
    const u16 id = create();
    {
        const DomainRef guest = domain(id);
        Call c{*guest->vcpus[0], *guest, {}};
        EXPECT_EQ(mca(c, GuestPtr<xen_mc_t>{put(op)}).error(), Err::Perm);
    }
    destroy_it(id);
}

TEST_F(MachineOpsTest, SetTimeReachesEveryDomain) {
    const u16 id = create();
    xen_platform_op_t op{};
    op.u.settime64 = {.secs = 1'800'000'000, .nsecs = 7, .mbz = 0, .system_time = 0};
    EXPECT_TRUE(platform(XENPF_settime64, op));
    EXPECT_EQ(domain(id)->shared->wc_sec, 1'800'000'000u);
    EXPECT_EQ(dom0()->shared->wc_sec, 1'800'000'000u);
    EXPECT_EQ(dom0()->shared->wc_nsec, 7u);
    op.u.settime64.mbz = 1;
    EXPECT_EQ(platform(XENPF_settime64, op).error(), Err::Inval);
    op.u.settime64 = {.secs = ~u64{0}};
    EXPECT_EQ(platform(XENPF_settime64, op).error(), Err::Inval);
    op.u.settime64 = {.secs = 1, .nsecs = 1'000'000'000};
    EXPECT_EQ(platform(XENPF_settime64, op).error(), Err::Inval);
    op.u.settime32 = {.secs = 1'700'000'000, .nsecs = 0, .system_time = 0};
    EXPECT_TRUE(platform(XENPF_settime32, op));
    destroy_it(id);
}

TEST_F(MachineOpsTest, CpuInfoAndIdleTime) {
    xen_platform_op_t op{};
    EXPECT_TRUE(platform(XENPF_get_cpuinfo, op));
    EXPECT_EQ(op.u.pcpu_info.flags, u32{XEN_PCPU_FLAGS_ONLINE});
    EXPECT_EQ(op.u.pcpu_info.max_present, 0u);
    op.u.pcpu_info.xen_cpuid = 5;
    EXPECT_TRUE(platform(XENPF_get_cpuinfo, op));
    EXPECT_EQ(op.u.pcpu_info.flags, u32{XEN_PCPU_FLAGS_INVALID});
    op = {};
    const u64 map = put(u8{0xff}, 4);
    op.u.getidletime.cpumap_bitmap.p = reinterpret_cast<u8*>(map);
    op.u.getidletime.idletime.p = reinterpret_cast<u64*>(window_base + 0xa000);
    op.u.getidletime.cpumap_nr_cpus = 8;
    EXPECT_TRUE(platform(XENPF_getidletime, op));
    EXPECT_EQ(get<u8>(4), 1) << "the CPUs that are there";
    EXPECT_EQ(op.u.getidletime.now, world().now);
    op.u.getidletime.cpumap_nr_cpus = ~0u;
    EXPECT_TRUE(platform(XENPF_getidletime, op)) << "no further than there can be CPUs";
    op.u.getidletime.idletime.p = reinterpret_cast<u64*>(~u64{7});
    EXPECT_EQ(platform(XENPF_getidletime, op).error(), Err::Fault);
}

TEST_F(MachineOpsTest, SleepStateFiveIsOff) {
    xen_platform_op_t op{};
    op.u.enter_acpi_sleep.sleep_state = 3;
    EXPECT_EQ(platform(XENPF_enter_acpi_sleep, op).error(), Err::Inval);
    op.u.enter_acpi_sleep.sleep_state = 5;
    EXPECT_THROW((void)platform(XENPF_enter_acpi_sleep, op), MachineEnds);
}

TEST_F(MachineOpsTest, FirmwareInfoEndsTheSearch) {
    xen_platform_op_t op{};
    for (u32 type : {XEN_FW_DISK_INFO, XEN_FW_DISK_MBR_SIGNATURE, XEN_FW_VBEDDC_INFO}) {
        op.u.firmware_info.type = type;
        EXPECT_EQ(platform(XENPF_firmware_info, op).error(), Err::Srch);
    }
    op.u.firmware_info.type = XEN_FW_EFI_INFO;
    EXPECT_EQ(platform(XENPF_firmware_info, op).error(), Err::NoSys);
    op.u.firmware_info.type = XEN_FW_KBD_SHIFT_FLAGS;
    EXPECT_TRUE(platform(XENPF_firmware_info, op));
}

TEST_F(MachineOpsTest, IoPrivilegeOfTheVcpu) {
    EXPECT_TRUE(physdev(PHYSDEVOP_set_iopl, physdev_set_iopl_t{1}));
    EXPECT_EQ(world().current->pv.iopl, 1);
    EXPECT_EQ(physdev(PHYSDEVOP_set_iopl, physdev_set_iopl_t{4}).error(), Err::Inval);
    EXPECT_EQ(physdev(PHYSDEVOP_set_iopl, physdev_set_iopl_t{0x101}).error(), Err::Inval) << "not cut off to 8 bits";
    physdev_set_iobitmap_t bitmap{};
    bitmap.bitmap.p = reinterpret_cast<u8*>(window_base);
    bitmap.nr_ports = 65536;
    EXPECT_TRUE(physdev(PHYSDEVOP_set_iobitmap, bitmap));
    bitmap.nr_ports = 65537;
    EXPECT_EQ(physdev(PHYSDEVOP_set_iobitmap, bitmap).error(), Err::Inval);
    EXPECT_EQ(world().current->pv.io_ports, 65536u);
}

TEST_F(MachineOpsTest, InterruptNumbersAreJudged) {
    physdev_map_pirq_t map{};
    map.domid = DOMID_SELF;
    map.type = MAP_PIRQ_TYPE_GSI;
    map.index = 9;
    map.pirq = -1;
    EXPECT_TRUE(physdev(PHYSDEVOP_map_pirq, map));
    EXPECT_EQ(get<physdev_map_pirq_t>().pirq, 9);
    for (int wrong : {-1, 256, 0x7fffffff}) {
        map.index = map.pirq = wrong;
        EXPECT_EQ(physdev(PHYSDEVOP_map_pirq, map).error(), Err::Inval) << wrong;
        EXPECT_EQ(physdev(PHYSDEVOP_setup_gsi, physdev_setup_gsi_t{wrong, 0, 0}).error(), Err::Inval);
        EXPECT_EQ(physdev(PHYSDEVOP_unmap_pirq, physdev_unmap_pirq_t{DOMID_SELF, wrong}).error(), Err::Inval);
        EXPECT_EQ(physdev(PHYSDEVOP_eoi, physdev_eoi_t{static_cast<u32>(wrong)}).error(), Err::Inval);
        EXPECT_EQ(physdev(PHYSDEVOP_irq_status_query, physdev_irq_status_query_t{static_cast<u32>(wrong), 0}).error(),
                  Err::Inval);
    }
    map.type = MAP_PIRQ_TYPE_MSI_SEG;
    EXPECT_EQ(physdev(PHYSDEVOP_map_pirq, map).error(), Err::NoSys);
}

TEST_F(MachineOpsTest, GuestsMayNotManageDevices) {
    const u16 id = create();
    {
        const DomainRef guest = domain(id);
        Call c{*guest->vcpus[0], *guest, {}};
        const u64 at = put(std::array<u8, 64>{});
        for (u32 command : {PHYSDEVOP_map_pirq, PHYSDEVOP_unmap_pirq, PHYSDEVOP_setup_gsi, PHYSDEVOP_pci_device_add,
                            PHYSDEVOP_pci_device_remove, PHYSDEVOP_pci_mmcfg_reserved, PHYSDEVOP_manage_pci_add})
            EXPECT_EQ(physdev_op(c, command, GuestPtr<void>{at}).error(), Err::Perm) << command;
        EXPECT_EQ(physdev_op(c, PHYSDEVOP_apic_read, GuestPtr<void>{at}).error(), Err::NoSys);
        EXPECT_EQ(physdev_op(c, PHYSDEVOP_set_iopl, GuestPtr<void>{0}).error(), Err::Fault);
    }
    destroy_it(id);
}

TEST_F(MachineOpsTest, RubbishIsAnswered) {
    std::mt19937_64 random(11);
    for (int i = 0; i < 20000; ++i) {
        u64 words[24];
        for (u64& word : words)
            word = random() % 3 ? random() : random() % 4;
        (void)physdev(static_cast<u32>(random() % 40), words);
        xen_platform_op_t op;
        std::memcpy(&op, words, sizeof op);
        const u32 command = static_cast<u32>(random() % 70);
        if (command != XENPF_enter_acpi_sleep)
            (void)platform(command, op);
        ASSERT_EQ(world().held_locks, 0);
    }
}

} // namespace
} // namespace domus::test
