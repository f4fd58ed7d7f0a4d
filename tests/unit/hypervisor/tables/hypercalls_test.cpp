// docs/hypercalls.md is what the tables say: this writes it and compares. DOMUS_WRITE_DOCS=1 in the environment puts
// the new text in its place. And the tables themselves: every operation of the public headers has a row, once.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>

namespace domus::test {
namespace {

using namespace domus::hv;

struct Section {
    const char* title;
    const char* prefix; // of the constants' names
    const OperationList& list;
    const char* header; // under /usr/include/xen
    bool by_row = true; // every constant of that prefix in the header must have a row
};

const Section sections[] = {
    {"memory_op", "XENMEM_", memory_operations, "memory.h", false}, // flags and sub-commands have the same prefix
    {"event_channel_op", "EVTCHNOP_", event_operations, "event_channel.h", false}, // and one of Xen's own
    {"grant_table_op", "GNTTABOP_", grant_operations, "grant_table.h"},
    {"sched_op", "SCHEDOP_", scheduler_operations, "sched.h"},
    {"vcpu_op", "VCPUOP_", vcpu_operations, "vcpu.h"},
    {"mmuext_op", "MMUEXT_", mmu_operations, "xen.h"},
    {"callback_op", "CALLBACKOP_", callback_operations, "callback.h"},
    {"nmi_op", "XENNMI_", nmi_operations, "nmi.h"},
    {"xen_version", "XENVER_", version_operations, "version.h"},
    {"console_io", "CONSOLEIO_", console_operations, "xen.h"},
    {"physdev_op", "PHYSDEVOP_", physdev_operations, "physdev.h", false},
    {"platform_op", "XENPF_", platform_operations, "platform.h", false},
    {"mca", "XEN_MC_", mca_operations, "arch-x86/xen-mca.h", false},
    {"domctl", "XEN_DOMCTL_", control_operations, "domctl.h", false},
    {"sysctl", "XEN_SYSCTL_", system_operations, "sysctl.h", false},
    {"extension", "DOMUS_EXT_", extension_operations, nullptr, false},
};
constexpr char hypercall_prefix[] = "__HYPERVISOR_";

const char* errno_name(Err error) {
    const std::map<Err, const char*> names = {
        {Err::Perm, "EPERM"},   {Err::Access, "EACCES"},  {Err::NoDev, "ENODEV"},        {Err::Inval, "EINVAL"},
        {Err::NoSys, "ENOSYS"}, {Err::NoData, "ENODATA"}, {Err::OpNotSupp, "EOPNOTSUPP"}};
    return names.at(error);
}

std::string short_name(const OperationInfo& operation, std::string_view prefix) {
    const std::string_view name = operation.name;
    return std::string(name.starts_with(prefix) ? name.substr(prefix.size()) : name);
}

void write_table(std::ostream& out, const OperationList& list, std::string_view prefix) {
    out << "| number | name | who | answer | remarks |\n|---|---|---|---|---|\n";
    std::map<u32, const OperationInfo*> rows;
    for (usize i = 0; i < list.size(); ++i)
        rows[list[i].number] = &list[i];
    for (const auto& [number, row] : rows) {
        out << "| " << number << " | " << short_name(*row, prefix) << " | "
            << (row->may == May::Dom0 ? "dom0" : "guests") << " | "
            << (row->offered() ? "offered" : errno_name(row->answer)) << " | " << (row->remark ? row->remark : "")
            << " |\n";
    }
}

std::string document() {
    std::ostringstream out;
    out << "# Hypercalls\n\n"
           "Generated from the tables that dispatch them (`hypervisor/boot/hypercall_table.cpp` and what "
           "`hypervisor/core/operation_lists.hpp` names); `hypercalls_test` compares, and writes this file anew with "
           "`DOMUS_WRITE_DOCS=1`. Numbers and structures are those of Xen's public headers. What is in no table is "
           "answered with ENOSYS. \"dom0\": others get EPERM. \"guests\" may call for themselves; naming another "
           "domain is for dom0, where the operation names one.\n\n";
    write_table(out, hypercalls, hypercall_prefix);
    for (const Section& section : sections) {
        out << "\n## " << section.title << "\nNames begin with `" << section.prefix << "`.\n\n";
        write_table(out, section.list, section.prefix);
    }
    return out.str();
}

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

// The names of that beginning which a header defines to be a number; `define` is what stands before each. (Not by
// <regex>: GCC 12 warns of its insides.)
std::set<std::string> numbers_defined(const std::string& header, const std::string& define, const std::string& prefix) {
    std::set<std::string> names;
    for (auto at = header.find(define); at != header.npos; at = header.find(define, at + 1)) {
        std::istringstream words(header.substr(at + define.size(), 100));
        std::string name, value;
        if (words >> name >> value && name.starts_with(prefix) && value[0] >= '0' && value[0] <= '9')
            names.insert(name);
    }
    return names;
}

TEST(Hypercalls, DocumentSaysWhatTheTablesSay) {
    const std::string path = std::string(DOMUS_SOURCE_DIR) + "/docs/hypercalls.md";
    const std::string text = document();
    if (std::getenv("DOMUS_WRITE_DOCS"))
        std::ofstream(path) << text;
    EXPECT_EQ(read_file(path), text) << "run `DOMUS_WRITE_DOCS=1 hypercalls_test` and look at the difference";
}

TEST(Hypercalls, EveryNumberHasOneRow) {
    for (const Section& section : sections) {
        std::set<u32> seen;
        for (usize i = 0; i < section.list.size(); ++i)
            EXPECT_TRUE(seen.insert(section.list[i].number).second) << section.list[i].name;
    }
    std::set<u32> seen;
    for (usize i = 0; i < hypercalls.size(); ++i)
        EXPECT_TRUE(seen.insert(hypercalls[i].number).second) << hypercalls[i].name;
}

TEST(Hypercalls, WhatIsRefusedSaysWhy) {
    for (const Section& section : sections) {
        for (usize i = 0; i < section.list.size(); ++i)
            EXPECT_TRUE(section.list[i].offered() || section.list[i].remark) << section.list[i].name;
    }
}

TEST(Hypercalls, HeadersNameNothingThatHasNoRow) {
    for (const Section& section : sections) {
        if (!section.by_row)
            continue;
        std::set<std::string> known;
        for (usize i = 0; i < section.list.size(); ++i)
            known.insert(section.list[i].name);
        const std::string text = read_file(std::string("/usr/include/xen/") + section.header);
        ASSERT_FALSE(text.empty()) << section.header;
        const auto defined = numbers_defined(text, "#define ", section.prefix);
        EXPECT_FALSE(defined.empty()) << section.title;
        for (const auto& name : defined)
            EXPECT_TRUE(known.contains(name)) << name;
    }
}

// domctl and sysctl name their commands inside their structure, between its first two members. Some are not for us:
// Xen's own continuation, and what other processors had.
TEST(Hypercalls, ControlOperationsAreComplete) {
    for (const auto& [list, name] :
         {std::pair(&control_operations, "domctl"), std::pair(&system_operations, "sysctl")}) {
        std::set<std::string> known;
        for (usize i = 0; i < list->size(); ++i)
            known.insert((*list)[i].name);
        std::string text = read_file(std::string("/usr/include/xen/") + name + ".h");
        text = text.substr(text.find(std::string("struct xen_") + name + " {"));
        text = text.substr(0, text.find("uint32_t interface_version;"));
        const std::set<std::string> others = {"XEN_DOMCTL_soft_reset_cont", "XEN_DOMCTL_real_mode_area",
                                              "XEN_DOMCTL_set_opt_feature"};
        const auto defined = numbers_defined(text, "\n#define ", "XEN_");
        for (const auto& command : defined)
            EXPECT_TRUE(known.contains(command) || others.contains(command)) << command;
        EXPECT_GT(defined.size(), 20u);
    }
}

} // namespace
} // namespace domus::test
