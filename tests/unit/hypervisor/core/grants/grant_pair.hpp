// A granter and a mapper, and the usual operations between them.
#pragma once

#include "hypervisor/core/frame_word.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {

struct GrantTest : MachineTest {
    Domain& zero = m.make_domain(7, 1, true);
    Domain& a = m.make_domain(1); // grants
    Domain& b = m.make_domain(2); // maps

    grant_entry_v1_t* v1(Domain& d, u32 ref) {
        return m.at<grant_entry_v1_t>(d.grants.frame_for_guest(ref / 512, false).value()) + ref % 512;
    }
    grant_entry_v2_t* v2(Domain& d, u32 ref) {
        return m.at<grant_entry_v2_t>(d.grants.frame_for_guest(ref / 256, false).value()) + ref % 256;
    }
    u16 status_word(Domain& d, u32 ref) {
        return m.at<u16>(d.grants.frame_for_guest(ref / 2048, true).value())[ref % 2048];
    }
    // Grant a page of `d` to `to`; returns the page.
    Mfn grant(Domain& d, u32 ref, u16 to, u16 flags = GTF_permit_access) {
        const Mfn page = m.page(d);
        *v1(d, ref) = {flags, to, static_cast<u32>(page.n)};
        return page;
    }
    gnttab_map_grant_ref_t map(Domain& by, u16 from, u32 ref, u64 address, u32 flags = GNTMAP_host_map) {
        gnttab_map_grant_ref_t op{.host_addr = address, .flags = flags, .ref = ref, .dom = from};
        EXPECT_EQ(m.grants(by, GNTTABOP_map_grant_ref, &op), 0);
        return op;
    }
    i16 unmap(Domain& by, u32 handle, u64 address, u64 device = 0) {
        gnttab_unmap_grant_ref_t op{.host_addr = address, .dev_bus_addr = device, .handle = handle};
        EXPECT_EQ(m.grants(by, GNTTABOP_unmap_grant_ref, &op), 0);
        return op.status;
    }
    static u64 references(Mfn f) { return frame_info(f).refs.load() & refs_mask; }
    static u32 type_count(Mfn f) { return TypeWord{frame_info(f).type.load()}.count(); }
    void set_version(Domain& d, u32 version) {
        gnttab_set_version_t op{version};
        ASSERT_EQ(m.grants(d, GNTTABOP_set_version, &op), 0);
        ASSERT_EQ(op.version, version);
    }
};

} // namespace domus::test
