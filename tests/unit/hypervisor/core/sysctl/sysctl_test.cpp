// sysctl and the extension hypercall: answers, privilege, versions, bounds.
#include "hypervisor/abi/domus.h"
#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/core/sysctl.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {
namespace {

struct Sysctl : MachineTest {
    Domain& zero = m.make_domain(0, 1, true);
    Domain& guest = m.make_domain(3);
    xen_sysctl_t op{};

    i64 run(u32 command) {
        op.cmd = command;
        op.interface_version = XEN_SYSCTL_INTERFACE_VERSION;
        return call(zero);
    }
    i64 call(Domain& d) {
        Call c = m.call(d);
        const auto result = sysctl(c, {reinterpret_cast<u64>(&op)});
        return result ? result.value() : minus(result.error());
    }
};

TEST_F(Sysctl, VersionAndPrivilege) {
    op.cmd = XEN_SYSCTL_sched_id;
    op.interface_version = XEN_SYSCTL_INTERFACE_VERSION - 1;
    EXPECT_EQ(call(zero), minus(Err::Access));
    op.interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    EXPECT_EQ(call(guest), minus(Err::Perm));
    EXPECT_EQ(call(zero), 0);
    EXPECT_EQ(op.u.sched_id.sched_id, u32{XEN_SCHEDULER_CREDIT2});
    for (u32 command : {u32{XEN_SYSCTL_pm_op}, u32{XEN_SYSCTL_cpu_hotplug}, u32{XEN_SYSCTL_livepatch_op}, 0u, 999u})
        EXPECT_EQ(run(command), minus(Err::NoSys)) << command;
    EXPECT_EQ(run(XEN_SYSCTL_tbuf_op), minus(Err::OpNotSupp));
}

TEST_F(Sysctl, PhysinfoIsTrue) {
    EXPECT_EQ(run(XEN_SYSCTL_physinfo), 0);
    const auto& info = op.u.physinfo;
    EXPECT_EQ(info.nr_cpus, 1u);
    EXPECT_EQ(info.nr_nodes, 1u);
    EXPECT_EQ(info.total_pages, total_frame_count());
    EXPECT_EQ(info.free_pages, free_frame_count());
    EXPECT_TRUE(info.capabilities & XEN_SYSCTL_PHYSCAP_pv);
    EXPECT_FALSE(info.capabilities & XEN_SYSCTL_PHYSCAP_hvm);
    EXPECT_EQ(run(XEN_SYSCTL_availheap), 0);
}

TEST_F(Sysctl, DomainListFromANumberOn) {
    m.make_domain(5);
    xen_domctl_getdomaininfo_t list[4];
    op.u.getdomaininfolist = {.first_domain = 1, .max_domains = 4};
    set_xen_guest_handle(op.u.getdomaininfolist.buffer, list);
    EXPECT_EQ(run(XEN_SYSCTL_getdomaininfolist), 0);
    ASSERT_EQ(op.u.getdomaininfolist.num_domains, 2u);
    EXPECT_EQ(list[0].domain, 3);
    EXPECT_EQ(list[1].domain, 5);
    op.u.getdomaininfolist.first_domain = 0;
    op.u.getdomaininfolist.max_domains = 1;
    EXPECT_EQ(run(XEN_SYSCTL_getdomaininfolist), 0);
    EXPECT_EQ(op.u.getdomaininfolist.num_domains, 1u);
    EXPECT_EQ(list[0].domain, 0);
}

TEST_F(Sysctl, ReadConsoleInPieces) {
    console_ring_clear();
    std::string text;
    for (int i = 0; i < 100; ++i) {
        console_print_line("", std::to_string(i));
        text += std::to_string(i) + "\n";
    }
    std::string all;
    char buffer[37];
    u32 index = console_ring_start();
    do {
        op.u.readconsole = {.incremental = 1, .index = index, .count = sizeof buffer};
        set_xen_guest_handle(op.u.readconsole.buffer, buffer);
        ASSERT_EQ(run(XEN_SYSCTL_readconsole), 0);
        all.append(buffer, op.u.readconsole.count);
        index = op.u.readconsole.index;
    } while (op.u.readconsole.count == sizeof buffer);
    EXPECT_EQ(all, text);
    op.u.readconsole = {.clear = 1, .count = 0};
    EXPECT_EQ(run(XEN_SYSCTL_readconsole), 0);
    op.u.readconsole = {.count = sizeof buffer};
    set_xen_guest_handle(op.u.readconsole.buffer, buffer);
    EXPECT_EQ(run(XEN_SYSCTL_readconsole), 0);
    EXPECT_EQ(op.u.readconsole.count, 0u);
}

TEST_F(Sysctl, CountersHaveNames) {
    op.u.perfc_op = {.cmd = XEN_SYSCTL_PERFCOP_query};
    ASSERT_EQ(run(XEN_SYSCTL_perfc_op), 0);
    const u32 counters = op.u.perfc_op.nr_counters;
    EXPECT_EQ(op.u.perfc_op.nr_vals, counters);
    std::vector<xen_sysctl_perfc_desc_t> names(counters);
    std::vector<u32> values(counters);
    Domain& short_lived = m.make_domain(9);
    zero.perf.counts[static_cast<size_t>(Count::RootLoads)] = 70;
    count(guest, Count::RootLoads, 5);
    count(short_lived, Count::RootLoads, 2);
    m.kill(short_lived);
    set_xen_guest_handle(op.u.perfc_op.desc, names.data());
    set_xen_guest_handle(op.u.perfc_op.val, values.data());
    ASSERT_EQ(run(XEN_SYSCTL_perfc_op), 0);
    bool found = false;
    for (u32 i = 0; i < counters; ++i) {
        EXPECT_EQ(names[i].nr_vals, 1u);
        found |= std::string(names[i].name) == "count: root loads" && values[i] == 77;
    }
    EXPECT_TRUE(found);
    op.u.perfc_op.cmd = XEN_SYSCTL_PERFCOP_reset;
    ASSERT_EQ(run(XEN_SYSCTL_perfc_op), 0);
    EXPECT_EQ(machine_counters().counts[static_cast<size_t>(Count::RootLoads)], 0u);
    EXPECT_EQ(guest.perf.counts[static_cast<size_t>(Count::RootLoads)], 0u);
    op.u.perfc_op.cmd = 3;
    EXPECT_EQ(run(XEN_SYSCTL_perfc_op), minus(Err::Inval));
}

TEST_F(Sysctl, TopologyOfOneNode) {
    op.u.numainfo = {};
    EXPECT_EQ(run(XEN_SYSCTL_numainfo), 0);
    EXPECT_EQ(op.u.numainfo.num_nodes, 1u);
    xen_sysctl_meminfo_t memory[2] = {};
    u32 distance = 0;
    op.u.numainfo.num_nodes = 2;
    set_xen_guest_handle(op.u.numainfo.meminfo, memory);
    set_xen_guest_handle(op.u.numainfo.distance, &distance);
    EXPECT_EQ(run(XEN_SYSCTL_numainfo), 0);
    EXPECT_EQ(memory[0].memsize, total_frame_count() << 12);
    EXPECT_EQ(memory[1].memsize, 0u);
    EXPECT_EQ(distance, 10u);
    op.u.cputopoinfo = {};
    EXPECT_EQ(run(XEN_SYSCTL_cputopoinfo), 0);
    EXPECT_EQ(op.u.cputopoinfo.num_cpus, 1u);
}

TEST_F(Sysctl, OnePool) {
    u8 cpus = 0;
    op.u.cpupool_op = {.op = XEN_SYSCTL_CPUPOOL_OP_INFO};
    op.u.cpupool_op.cpumap.nr_bits = 8;
    set_xen_guest_handle(op.u.cpupool_op.cpumap.bitmap, &cpus);
    EXPECT_EQ(run(XEN_SYSCTL_cpupool_op), 0);
    EXPECT_EQ(cpus, 1);
    EXPECT_EQ(op.u.cpupool_op.n_dom, 2u);
    op.u.cpupool_op.cpupool_id = 1;
    EXPECT_EQ(run(XEN_SYSCTL_cpupool_op), minus(Err::NoEnt));
    op.u.cpupool_op.op = XEN_SYSCTL_CPUPOOL_OP_FREEINFO;
    EXPECT_EQ(run(XEN_SYSCTL_cpupool_op), 0);
    EXPECT_EQ(cpus, 0);
    op.u.cpupool_op.op = XEN_SYSCTL_CPUPOOL_OP_CREATE;
    EXPECT_EQ(run(XEN_SYSCTL_cpupool_op), minus(Err::OpNotSupp));
}

TEST_F(Sysctl, DebugKeysAreBounded) {
    char keys[] = "hq";
    op.u.debug_keys = {};
    set_xen_guest_handle(op.u.debug_keys.keys, keys);
    op.u.debug_keys.nr_keys = 2;
    m.printed.clear();
    EXPECT_EQ(run(XEN_SYSCTL_debug_keys), 0);
    EXPECT_NE(m.printed.find("key h"), std::string::npos);
    op.u.debug_keys.nr_keys = ~0u;
    EXPECT_EQ(run(XEN_SYSCTL_debug_keys), minus(Err::TooBig));
}

struct Extension : Sysctl {
    i64 read(Domain& d, domus_read_counters& counters) {
        Call c = m.call(d);
        const auto result = extension(c, DOMUS_EXT_read_counters, {reinterpret_cast<u64>(&counters)});
        return result ? result.value() : minus(result.error());
    }
};

TEST_F(Extension, CountersOfADomain) {
    count(guest, Count::Emulated, 0x100000005);
    domus_read_counters ask{.domid = 3};
    ASSERT_EQ(read(zero, ask), 0);
    std::vector<domus_counter> list(ask.count + 1);
    list.back().value = 42;
    ask.counters = reinterpret_cast<u64>(list.data());
    ASSERT_EQ(read(zero, ask), 0);
    EXPECT_EQ(std::string(list[static_cast<size_t>(Count::Emulated)].name), "emulated");
    EXPECT_EQ(list[static_cast<size_t>(Count::Emulated)].value, 0x100000005u) << "all 64 bits";
    EXPECT_EQ(list.back().value, 42u);
    // Less room: cut off, and the answer says how many there are.
    const u32 all = ask.count;
    list[1].value = 42;
    ask.count = 1;
    ASSERT_EQ(read(zero, ask), 0);
    EXPECT_EQ(ask.count, all);
    EXPECT_EQ(list[1].value, 42u);
}

TEST_F(Extension, Privilege) {
    domus_read_counters ask{.domid = 0};
    EXPECT_EQ(read(guest, ask), minus(Err::Perm));
    ask = {.domid = DOMUS_COUNTERS_MACHINE};
    EXPECT_EQ(read(guest, ask), minus(Err::Perm));
    EXPECT_EQ(read(zero, ask), 0);
    ask = {.domid = DOMID_SELF};
    EXPECT_EQ(read(guest, ask), 0);
    ask = {.domid = 99};
    EXPECT_EQ(read(zero, ask), minus(Err::Srch));
    ask = {.domid = 3, .flags = 1};
    EXPECT_EQ(read(zero, ask), minus(Err::Inval));
    ask = {.domid = 3, .count = 5, .counters = 8};
    EXPECT_EQ(read(zero, ask), minus(Err::Fault));
    Call c = m.call(guest);
    EXPECT_EQ(extension(c, DOMUS_EXT_version, {}).value(), 1);
    EXPECT_EQ(extension(c, 2, {}).error(), Err::NoSys);
}

} // namespace
} // namespace domus::test
