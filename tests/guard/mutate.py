#!/usr/bin/env python3
"""Broken variants of the hypervisor, each of which the guard must find (tests/guard/mutant.cpp).

usage: mutate.py --names            the variants, one a line: NAME SOURCE
       mutate.py NAME ROOT OUTPUT   write SOURCE with the fault in it

A fault is one piece of text replaced by another. The piece must stand exactly once in the source: when the source
changes so that it does not, the build says so, and the variant has to be written anew."""
import sys

PV, CORE = "hypervisor/pv/", "hypervisor/core/"
MUTANTS = {
    # name: (source, what stands there, what the fault makes of it)
    "in_place_gains_write": (PV + "mmu_entry.cpp", " && (value & ~old & entry::writable) == 0;", ";"),
    "in_place_other_frame": (PV + "mmu_entry.cpp", "entry::present | entry::frame_mask | entry::cache_mask;",
                             "entry::present | entry::cache_mask;"),
    "writable_without_type": (PV + "mmu_entry.cpp",
                              "take_mapped(*info, mfn, *from.domain, entry::is_writable(value))",
                              "take_mapped(*info, mfn, *from.domain, value == 1)"),
    "old_entry_keeps_references": (PV + "mmu_entry.cpp",
                                   "    if (entry::is_present(old))\n        drop_target(old);\n    return {};\n}\n\n"
                                   "u64 settle_l1",
                                   "    return {};\n}\n\nu64 settle_l1"),
    "hypervisor_slot_open": (PV + "mmu_entry.cpp", "if (level == FrameType::L4 && is_hypervisor_slot(write.index))",
                             "if (level == FrameType::L4 && write.index == 256)"),
    "last_entry_unchecked": (PV + "page_types.cpp",
                             "        if (!entry::is_present(raw))\n            continue;\n        const u64 value = entry::stored(raw);\n"
                             "        TRY(take_target",
                             "        if (!entry::is_present(raw) || progress == 3)\n            continue;\n"
                             "        const u64 value = entry::stored(raw);\n        TRY(take_target"),
    "type_change_without_flush": (CORE + "frame_table.cpp",
                                  "    if (now.type() != want && now.type() != FrameType::None)\n"
                                  "        flush_stale_translations();\n", ""),
    "last_writer_not_noted": (PV + "mmu_entry.cpp", '#include "hypervisor/pv/mapped_frame.hpp"\n',
                              "#define note_stale_translations() static_cast<void>(0)\n"
                              '#include "hypervisor/pv/mapped_frame.hpp"\n'
                              "#undef note_stale_translations\n"),
    "allocation_without_flush": (CORE + "frames.cpp", "    flush_stale_translations();\n", ""),
    "failed_exchange_without_flush": (CORE + "frame_owner.cpp", "    flush_stale_translations();\n", ""),
    "stolen_in_spite_of_references": (CORE + "frame_owner.cpp", "u64 sole = allocated_flag | 2;",
                                      "u64 sole = info.refs.load();"),
    "readonly_grant_writable": (PV + "grant_map.cpp", "    if ((request.flags & GNTMAP_readonly) == 0)\n"
                                "        flags |= entry::writable;", "    flags |= entry::writable;"),
    "unmapped_grant_stays": (PV + "grant_map.cpp", "!arch::exchange_entry(place.table, place.index, old, replacement)",
                             "!arch::exchange_entry(place.table, place.index, old, replacement == 0 ? old : replacement)"),
    "unmap_without_flush": (CORE + "grant_map.cpp", "        if (must_flush) {", "        if (count > most) {"),
    "unmaps_of_a_multicall_begin_anew": (PV + "multicall.cpp", "    if (const auto kept = copy_out(at, entry); !kept)\n"
                                         "        return kept.error();\n", ""),
    "version_changes_while_in_use": (CORE + "grant_version.cpp", "    if (t.used != 0)\n        return Err::Busy;\n", ""),
    "version_change_keeps_entries": (CORE + "grant_version.cpp", "        arch::zero_frame(t.frames[i]);", "        continue;"),
    "version_change_gives_status_frames_back": (CORE + "grant_version.cpp", "        arch::zero_frame(t.status_frames[i]);",
                                                "        free_shared_frame(d, t.status_frames[i]);"),
    "grant_swapped_in_use": (CORE + "grant_version.cpp", "    if (used_a->is_used() || used_b->is_used())\n"
                             "        return GNTST_eagain;\n", ""),
    "transitive_grant_taken_for_a_plain_one": (CORE + "grant_pin.cpp",
                                               "    if ((h.flags() & GTF_type_mask) != GTF_permit_access)",
                                               "    if ((h.flags() & GTF_type_mask) == GTF_invalid)"),
    "part_of_a_page_mapped": (CORE + "grant_pin.cpp", "    if (how == Use::Map && active.length != page_size)",
                              "    if (how == Use::Map && active.length > page_size)"),
    "more_than_the_part_copied": (CORE + "grant_copy.cpp",
                                  "        if (start < pinned_.start || end > u32{pinned_.start} + pinned_.length)",
                                  "        if (start < pinned_.start || end > page_size)"),
    "readonly_v2_grant_written": (CORE + "grant_pin.cpp", "        if (const i16 bad = judge(seen, user, access))\n"
                                  "            return bad;\n        const u16 before",
                                  "        if (const i16 bad = judge(seen, user, Access::Read))\n"
                                  "            return bad;\n        const u16 before"),
    "second_pin_leaks": (PV + "page_types.cpp", "    put_frame_and_type(mfn); // pinned already", "    // pinned already"),
    "root_without_references": (PV + "root.cpp", "    if (mfn.n != 0)\n        TRY(take_root(vcpu, mfn));\n", ""),
    "unhooked_without_flush": (PV + "unhooked.cpp", "    flush_all_of(domain); // no CPU", "    // no CPU"),
    "brought_back_without_flush": (PV + "unhooked.cpp", "    flush_all_of(domain);\n    change_flags", "    change_flags"),
    "alias_stays_writable": (PV + "unhooked.cpp", "    if (set_alias_writable(out, false))", "    if (out.table == invalid_mfn)"),
    "changes_not_validated": (PV + "unhooked.cpp", "        const u64 value = settle_l1(before[i], raw, from, domain);",
                              "        const u64 value = i != 3 ? settle_l1(before[i], raw, from, domain) : raw;"),
    "hook_stays": (PV + "unhooked.cpp", "arch::exchange_entry(out.hook_table, out.hook_index, value, value ^ entry::user)",
                   "arch::exchange_entry(out.hook_table, out.hook_index, value, value)"),
    "switch_leaves_table_out": (PV + "unhooked.cpp", "void prepare_switch_from(Vcpu& vcpu) {\n"
                                "    bring_back_if_any(vcpu.domain);\n", "void prepare_switch_from(Vcpu&) {\n"),
    "large_group_passed_over": (PV + "page_types.cpp", "is_empty_group<large_group>(entries, from)",
                                "is_empty_group<group>(entries, from)"),
    "info_page_without_type": (CORE + "vcpu_info.cpp", "if (!get_frame_and_type(page, vcpu.domain, FrameType::Writable)) {",
                               "if (!get_frame(page, vcpu.domain)) {"),
    "run_gains_write_without_type": (PV + "range_ops.cpp", "get_type_plainly(*info, FrameType::Writable);",
                                     "mfn.n != 0;"),
    "run_loses_write_with_type": (PV + "range_ops.cpp", "if (entry::is_writable(old & ~value))",
                                  "if (value == 1)"),
    "run_changes_frames": (PV + "range_ops.cpp", "entry::no_execute | entry::user | software_bits;",
                           "entry::no_execute | entry::user | software_bits | entry::frame_mask;"),
    "map_without_type": (PV + "range_ops.cpp", "take_mapped(*info, mfn, domain, entry::is_writable(value)) != Mapped::Yes)",
                         "take_mapped(*info, mfn, domain, false) != Mapped::Yes)"),
    "map_of_a_foreign_frame": (PV + "range_ops.cpp", "take_mapped(*info, mfn, domain, entry::is_writable(value)) != Mapped::Yes)",
                               "take_mapped(*info, mfn, *info->owner.load(), entry::is_writable(value)) != Mapped::Yes)"),
    "map_over_a_mapping": (PV + "range_ops.cpp", "    if (entry::is_present(old) || !entry::is_present(value) ||",
                           "    if (!entry::is_present(value) ||"),
    "alias_of_a_table_writable": (PV + "table_lists.cpp",
                                  "    const auto written = write_l1({found.l1.table, found.l1.index, value, AccessBits::Replace, &found.value},\n"
                                  "                                  own_frames(call.domain), call.domain);",
                                  "    arch::write_entry(found.l1.table, found.l1.index, value);\n    const Result<void> written{};"),
    "superpage_first_frame_alone": (PV + "superpage.cpp",
                                    "    for (u32 i = 0; i < superpage_frames; ++i) {\n        if (take_mapped",
                                    "    for (u32 i = 0; i < 1; ++i) {\n        if (take_mapped"),
    "superpage_without_type": (PV + "superpage.cpp", "if (take_mapped(infos[i], first + i, owner, writable)",
                               "if (take_mapped(infos[i], first + i, owner, value == 1)"),
    "superpage_undo_forgotten": (PV + "superpage.cpp", "        while (i-- > 0)\n"
                                 "            drop_mapped(infos[i], first + i, writable);\n", ""),
    "superpage_not_aligned": (PV + "superpage.cpp", "entry::frame(value).n % superpage_frames != 0", "entry::frame(value).n == 0"),
    "superpage_gains_write": (PV + "mmu_entry.cpp", "return !is_superpage(old) || (value & ~old & entry::writable) == 0;",
                              "return true;"),
    "superpage_becomes_table_in_place": (PV + "mmu_entry.cpp", "entry::frame_mask | entry::cache_mask | entry::present;",
                                         "entry::frame_mask | entry::present;"),
    "superpage_keeps_type": (PV + "mmu_entry.cpp", "            drop_superpage_writing(old);\n", "            continue;\n"),
    "unfinished_table_forgotten": (PV + "mmu_entry.cpp", "    vcpu.pv.unfinished_table = table;\n", ""),
}


def main():
    if sys.argv[1:] == ["--names"]:
        for name, (source, _, _) in MUTANTS.items():
            print(name, source)
        return 0
    name, root, output = sys.argv[1:]
    source, old, new = MUTANTS[name]
    with open(f"{root}/{source}") as file:
        text = file.read()
    if text.count(old) != 1:
        print(f"mutant {name}: its place stands {text.count(old)} times in {source}", file=sys.stderr)
        return 1
    with open(output, "w") as file:
        file.write(text.replace(old, new))
    return 0


sys.exit(main())
