// Grant tables with oneself as granter: sizes, versions 1 and 2, map, unmap, copy, and what must be refused.
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr u32 first_ref = 8;  // below are reserved
constexpr u16 own_domain = 0; // this guest runs as dom0; mapping takes a number, not DOMID_SELF
grant_entry_v1_t* v1;
grant_entry_v2_t* v2;

long set_up(void* where) {
    xen_pfn_t frame = 0;
    gnttab_setup_table_t setup{DOMID_SELF, 1, 0, {&frame}};
    if (const long error = grant_op(GNTTABOP_setup_table, &setup, 1))
        return error;
    if (setup.status != GNTST_okay)
        return setup.status;
    return map_page(where, Mfn(frame), pte_writable);
}

void grant(u32 ref, const void* page, u16 flags) {
    v1[ref].domid = own_domain;
    v1[ref].frame = static_cast<u32>(mfn_of(page).n);
    __atomic_store_n(&v1[ref].flags, flags, __ATOMIC_RELEASE);
}

gnttab_map_grant_ref_t map(u32 ref, void* where, u32 flags = GNTMAP_host_map, u16 domain = own_domain) {
    gnttab_map_grant_ref_t argument{reinterpret_cast<u64>(where), flags, ref, domain, 0, 0, 0};
    if (grant_op(GNTTABOP_map_grant_ref, &argument, 1))
        argument.status = 1;
    return argument;
}

int unmap(void* where, u32 handle) {
    gnttab_unmap_grant_ref_t argument{reinterpret_cast<u64>(where), 0, handle, 0};
    return grant_op(GNTTABOP_unmap_grant_ref, &argument, 1) ? 1 : argument.status;
}

void sizes() {
    gnttab_query_size_t size{DOMID_SELF, 0, 0, 0};
    expect(grant_op(GNTTABOP_query_size, &size, 1), 0, "query_size");
    check(size.status == GNTST_okay && size.max_nr_frames >= 4, "sizes", "%u of %u, status %d", size.nr_frames,
          size.max_nr_frames, size.status);
    size.dom = 1234;
    expect(grant_op(GNTTABOP_query_size, &size, 1), 0, "query_size_no_domain");
    expect(size.status, GNTST_bad_domain, "query_size_no_domain_status");
    xen_pfn_t frames[1];
    gnttab_setup_table_t setup{DOMID_SELF, 1u << 20, 0, {frames}};
    expect(grant_op(GNTTABOP_setup_table, &setup, 1), 0, "set_up_too_many");
    expect(setup.status, GNTST_general_error, "set_up_too_many_status");
    gnttab_get_version_t version{DOMID_SELF, 0, 0};
    expect(grant_op(GNTTABOP_get_version, &version, 1), 0, "get_version");
    expect(version.version, 1, "starts_with_version_1");
}

void map_own_grant() {
    auto* page = static_cast<volatile u64*>(take_page());
    void* window = take_page();
    page[0] = 0x1234;
    grant(first_ref, const_cast<u64*>(page), GTF_permit_access);
    auto mapped = map(first_ref, window);
    expect(mapped.status, GNTST_okay, "map_own_grant");
    check(*static_cast<volatile u64*>(window) == 0x1234, "sees_granted_page");
    check(v1[first_ref].flags & GTF_reading && v1[first_ref].flags & GTF_writing, "entry_shows_use", "%x",
          v1[first_ref].flags);
    *static_cast<volatile u64*>(window) = 0x4321;
    check(page[0] == 0x4321, "writes_through");
    expect(unmap(window, mapped.handle + 1000), GNTST_bad_handle, "unmap_bad_handle");
    expect(unmap(window, mapped.handle), GNTST_okay, "unmap");
    check(!(v1[first_ref].flags & (GTF_reading | GTF_writing)), "entry_is_free", "%x", v1[first_ref].flags);
    auto again = map(first_ref, window, GNTMAP_host_map | GNTMAP_readonly);
    expect(again.status, GNTST_okay, "map_read_only");
    check(try_write(window, 1) == 15, "read_only_mapping_is_read_only");
    expect(unmap(window, again.handle), GNTST_okay, "unmap_read_only");
    expect(unmap(window, again.handle), GNTST_bad_handle, "unmap_twice");
}

void refused_maps() {
    void* page = take_page();
    void* window = take_page();
    expect(map(first_ref, window, GNTMAP_host_map, DOMID_SELF).status, GNTST_bad_domain, "map_of_domid_self");
    grant(first_ref + 1, page, GTF_permit_access | GTF_readonly);
    expect(map(first_ref + 1, window).status, GNTST_general_error, "map_read_only_grant_for_writing");
    grant(first_ref + 2, page, 0);
    expect(map(first_ref + 2, window).status, GNTST_general_error, "map_free_entry");
    expect(map(1u << 20, window).status, GNTST_bad_gntref, "map_ref_beyond_table");
    expect(map(first_ref, window, GNTMAP_host_map, 1234).status, GNTST_bad_domain, "map_no_domain");
    expect(map(first_ref, window, 0).status, GNTST_bad_gntref, "map_nowhere");
    v1[first_ref + 3].domid = 77;
    v1[first_ref + 3].frame = static_cast<u32>(mfn_of(page).n);
    v1[first_ref + 3].flags = GTF_permit_access;
    expect(map(first_ref + 3, window).status, GNTST_general_error, "map_grant_for_other");
    grant(first_ref + 4, reinterpret_cast<void*>(boot_info->pt_base), GTF_permit_access);
    check(map(first_ref + 4, window).status < 0, "map_page_table_writable_is_refused");
    check(map(first_ref, reinterpret_cast<void*>(0xffff820000000000)).status < 0, "map_into_hypervisor_is_refused");
}

void copies() {
    auto* from = static_cast<u64*>(take_page());
    auto* to = static_cast<u64*>(take_page());
    from[2] = 0xfeed;
    grant(first_ref + 5, from, GTF_permit_access | GTF_readonly);
    gnttab_copy_t copy{};
    copy.source.u.ref = first_ref + 5;
    copy.source.domid = DOMID_SELF;
    copy.source.offset = 16;
    copy.dest.u.gmfn = mfn_of(to).n;
    copy.dest.domid = DOMID_SELF;
    copy.dest.offset = 8;
    copy.len = 8;
    copy.flags = GNTCOPY_source_gref;
    const gnttab_copy_t good = copy;
    expect(grant_op(GNTTABOP_copy, &copy, 1), 0, "copy");
    check(copy.status == GNTST_okay && to[1] == 0xfeed, "copied", "status %d", copy.status);
    copy = good;
    copy.len = 4096;
    grant_op(GNTTABOP_copy, &copy, 1);
    expect(copy.status, GNTST_bad_copy_arg, "copy_across_page");
    copy = good;
    copy.source.u.ref = 1u << 20;
    grant_op(GNTTABOP_copy, &copy, 1);
    expect(copy.status, GNTST_bad_gntref, "copy_bad_ref");
    copy = good;
    copy.dest.u.ref = first_ref + 5;
    copy.flags |= GNTCOPY_dest_gref;
    grant_op(GNTTABOP_copy, &copy, 1);
    expect(copy.status, GNTST_general_error, "copy_into_read_only_grant");
    copy = good;
    copy.dest.u.gmfn = u64{1} << 40;
    grant_op(GNTTABOP_copy, &copy, 1);
    check(copy.status < 0, "copy_to_no_frame", "status %d", copy.status);
}

void version_two(void* table) {
    update_va_mapping(table,
                      0); // the version cannot change while entries are in use; the mapping may stay, but ours goes
    gnttab_set_version_t version{2};
    const long result = grant_op(GNTTABOP_set_version, &version, 1);
    if (result == -XEN_ENOSYS) {
        print("  version 2 is not offered\n");
        return;
    }
    expect(result, 0, "set_version_2");
    expect(version.version, 2, "version_is_2");
    expect(set_up(table), 0, "set_up_v2");
    v2 = static_cast<grant_entry_v2_t*>(table);
    u64 status_frame = 0;
    gnttab_get_status_frames_t status{1, DOMID_SELF, 0, {&status_frame}};
    expect(grant_op(GNTTABOP_get_status_frames, &status, 1), 0, "status_frames");
    void* status_page = take_page();
    expect(map_page(status_page, Mfn(status_frame), pte_writable), 0, "map_status");
    auto* states = static_cast<volatile grant_status_t*>(status_page);
    auto* page = static_cast<volatile u64*>(take_page());
    page[0] = 0x2222;
    v2[first_ref].full_page.hdr.domid = own_domain;
    v2[first_ref].full_page.frame = mfn_of(const_cast<u64*>(page)).n;
    __atomic_store_n(&v2[first_ref].full_page.hdr.flags, u16{GTF_permit_access}, __ATOMIC_RELEASE);
    void* window = take_page();
    auto mapped = map(first_ref, window);
    expect(mapped.status, GNTST_okay, "map_v2");
    check(*static_cast<volatile u64*>(window) == 0x2222, "sees_granted_page_v2");
    check(states[first_ref] & GTF_reading, "status_shows_use", "%x", states[first_ref]);
    expect(unmap(window, mapped.handle), GNTST_okay, "unmap_v2");
    check(!(states[first_ref] & GTF_reading), "status_is_clear", "%x", states[first_ref]);
    version.version = 3;
    expect(grant_op(GNTTABOP_set_version, &version, 1), -XEN_EINVAL, "set_version_3");
}

} // namespace

void guest_main() {
    sizes();
    void* table = take_page();
    expect(set_up(table), 0, "set_up");
    v1 = static_cast<grant_entry_v1_t*>(table);
    map_own_grant();
    refused_maps();
    copies();
    version_two(table);
    finish();
}
