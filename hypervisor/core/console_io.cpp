// The console hypercall, console input and the debug keys. Owner: this file. Lock: Rank::Console (input queue, lines).
#include "hypervisor/core/console_io.hpp"

#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <algorithm>

namespace domus::hv {

void (*dump_registers_hook)() = nullptr;

namespace {

constexpr usize chunk_bytes = 128;
constexpr char switch_key = 1; // Ctrl-a

// What was typed and dom0 has not read. When it is full, new characters are dropped: dom0 does not read.
struct Input {
    std::array<char, 256> bytes{};
    u32 produced = 0, consumed = 0;
    u8 switch_presses = 0;
    bool to_hypervisor = false;

    bool put(char c) {
        if (produced - consumed == bytes.size())
            return false;
        bytes[produced++ % bytes.size()] = c;
        return true;
    }
    usize take(std::span<char> to) {
        usize count = 0;
        while (count < to.size() && consumed != produced)
            to[count++] = bytes[consumed++ % bytes.size()];
        return count;
    }
};
constinit Guarded<Input, Rank::Console> input;
constinit Guarded<int, Rank::Console> lines; // the lock of every Domain::console_line

bool is_printable(char c) {
    return c == '\t' || (c >= ' ' && c < 127);
}

// Guests' text reaches a terminal: control characters and escape sequences do not.
void put_guest_char(Domain& domain, char c) {
    ConsoleLine done;
    const bool whole = lines.with([&](int&) {
        ConsoleLine& line = domain.console_line;
        if (is_printable(c))
            line.text[line.used++] = c;
        if (c != '\n' && line.used < line.text.size())
            return false;
        done = line;
        line.used = 0;
        return true;
    });
    if (whole)
        log_guest_line(Level::Error, domain, {done.text.data(), done.used});
}

Result<i64> write(Call& call, u32 count, GuestPtr<char> buffer) {
    while (count > 0) {
        char chunk[chunk_bytes];
        const u32 bytes = std::min<u32>(count, chunk_bytes);
        TRY(copy_in_bytes(chunk, buffer.address, bytes));
        if (call.domain.privileged)
            console_print_raw({chunk, bytes});
        else
            std::for_each(chunk, chunk + bytes, [&](char c) { put_guest_char(call.domain, c); });
        count -= bytes;
        buffer.address += bytes;
        if (count > 0 && must_yield())
            return call.resume_later(CONSOLEIO_write, count, buffer.address);
    }
    return i64{0};
}

Result<i64> read(Call&, u32 count, GuestPtr<char> buffer) {
    char chunk[chunk_bytes];
    const usize got = input.with([&](Input& in) { return in.take({chunk, std::min<usize>(count, chunk_bytes)}); });
    if (got > 0)
        TRY(copy_out_bytes(buffer.address, chunk, got));
    return static_cast<i64>(got);
}

void dump_domain(Domain& d) {
    log(Level::Error, "d{}: life {}, paused {}, pages {} of {}, references {}", d.id, d.life.load(),
        d.pause_count.load(), d.frames.unguarded().total, d.frames.unguarded().maximum, d.references.load());
    for (u32 i = 0; i < d.max_vcpus; ++i) {
        const Vcpu* v = d.vcpu(i);
        if (!v)
            continue;
        log(Level::Error, "  v{}: cpu {}, running {}, stops {x}, event pending {}, masked {}, rip {x}", i,
            v->processor.load(), v->running.load(), v->sched.stops.load(), v->info ? v->info->evtchn_upcall_pending : 0,
            v->info ? v->info->evtchn_upcall_mask : 0, v->regs.rip);
    }
}

void key_help();
void key_registers() {
    if (dump_registers_hook)
        dump_registers_hook();
    else
        log(Level::Error, "this machine cannot show registers");
}
void key_domains() {
    for (DomainRef d = first_domain(); d; d = next_domain(*d))
        dump_domain(*d);
}
void key_reboot() {
    log(Level::Error, "reboot asked for at the console");
    arch::reboot_machine();
}

struct DebugKey {
    char key;
    std::string_view what;
    void (*run)();
};
constexpr DebugKey debug_keys[] = {
    {'h', "show this help", key_help},
    {'d', "show the registers of this CPU", key_registers},
    {'q', "show domains and vcpus", key_domains},
    {'R', "reboot the machine", key_reboot},
};
void key_help() {
    for (const DebugKey& k : debug_keys)
        log(Level::Error, "key {}: {}", std::string_view(&k.key, 1), k.what);
}

enum class Typed { Nothing, ForDom0, Switched, DebugKey };

Typed take_typed(Input& in, char c) {
    in.switch_presses = c == switch_key ? in.switch_presses + 1 : 0;
    if (in.switch_presses == 3) {
        in.switch_presses = 0;
        in.to_hypervisor = !in.to_hypervisor;
        return Typed::Switched;
    }
    if (in.to_hypervisor)
        return c == switch_key ? Typed::Nothing : Typed::DebugKey;
    return in.put(c) ? Typed::ForDom0 : Typed::Nothing;
}

constexpr Operation<Result<i64> (*)(Call&, u32, GuestPtr<char>)> console_ops[] = {
    OFFERED_WITH(CONSOLEIO_write, write, Guest, "of a guest's lines, 100 a second"),
    OFFERED(CONSOLEIO_read, read, Dom0),
};

} // namespace

Result<i64> console_io(Call& call, i32 command, i32 count, GuestPtr<char> buffer) {
    if (count < 0)
        return Err::Inval;
    const auto* row = find_operation(console_ops, static_cast<u32>(command));
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    return row->run(call, static_cast<u32>(count), buffer);
}

const OperationList console_operations(console_ops);

void console_input(char c) {
    bool to_hypervisor = false;
    const Typed typed = input.with([&](Input& in) {
        const Typed t = take_typed(in, c);
        to_hypervisor = in.to_hypervisor;
        return t;
    });
    switch (typed) {
    case Typed::Nothing:
        return;
    case Typed::ForDom0:
        return raise_global_virq_of_machine(VIRQ_CONSOLE);
    case Typed::Switched:
        return log(Level::Error, "console input goes to {} (Ctrl-a three times to switch)",
                   to_hypervisor ? "the hypervisor: key h for help" : "dom0");
    case Typed::DebugKey:
        return debug_key(c);
    }
}

void debug_key(char c) {
    for (const DebugKey& k : debug_keys) {
        if (k.key == c)
            return k.run();
    }
    log(Level::Error, "no debug key '{}': key h for help", is_printable(c) ? std::string_view(&c, 1) : "?");
}

} // namespace domus::hv
