// Formatting and console output; see print.hpp. Source of the ring: <xen/io/console.h>.
#include "frontend-drivers/guestkit/print.hpp"

#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/start.hpp"

namespace domus::guest {
namespace {

class Text {
public:
    Text(char* out, std::size_t size) : out_(out), size_(size) {}
    void put(char c) {
        if (at_ + 1 < size_)
            out_[at_++] = c;
    }
    void put(const char* text) {
        while (*text)
            put(*text++);
    }
    void number(u64 value, unsigned base, unsigned width, char fill) {
        char reversed[24];
        unsigned count = 0;
        do {
            reversed[count++] = "0123456789abcdef"[value % base];
            value /= base;
        } while (value != 0);
        while (width > count) {
            put(fill);
            --width;
        }
        while (count > 0)
            put(reversed[--count]);
    }
    std::size_t finish() {
        out_[at_] = 0;
        return at_;
    }

private:
    char* out_;
    std::size_t size_, at_ = 0;
};

struct Spec {
    char kind = 0, fill = ' ';
    unsigned width = 0;
    bool is_long = false, has_length = false; // .*: a string's length comes before it
};

Spec parse(const char*& at) {
    Spec spec;
    if (*at == '0')
        spec.fill = *at++;
    while (*at >= '0' && *at <= '9')
        spec.width = spec.width * 10 + static_cast<unsigned>(*at++ - '0');
    for (; *at == '.' || *at == '*'; ++at)
        spec.has_length = true;
    for (; *at == 'l' || *at == 'z'; ++at)
        spec.is_long = true;
    spec.kind = *at ? *at++ : '%';
    return spec;
}

// One request to the PV console's ring, spinning while dom0's console daemon has it full.
void write_ring(const char* text, std::size_t length) {
    const auto& console = boot_info->console.domU;
    auto* ring = console_ring();
    auto notify = [&] {
        evtchn_send_t send{console.evtchn};
        event_op(EVTCHNOP_send, &send);
    };
    for (std::size_t i = 0; i < length; ++i) {
        const auto produced = ring->out_prod;
        while (produced - __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE) >= sizeof ring->out) {
            notify();
            sched_op(SCHEDOP_yield);
        }
        ring->out[produced % sizeof ring->out] = text[i];
        __atomic_store_n(&ring->out_prod, produced + 1, __ATOMIC_RELEASE);
    }
    notify();
}

} // namespace

xencons_interface* console_ring() {
    return static_cast<xencons_interface*>(address_of(Mfn(boot_info->console.domU.mfn)));
}

std::size_t format_text(char* out, std::size_t size, const char* format, va_list arguments) {
    Text text(out, size);
    while (*format) {
        if (*format != '%') {
            text.put(*format++);
            continue;
        }
        const Spec spec = parse(++format);
        if (spec.kind == 's' && spec.has_length) {
            int left = va_arg(arguments, int);
            for (auto* at = va_arg(arguments, const char*); left > 0; --left)
                text.put(*at++);
        } else if (spec.kind == 's') {
            text.put(va_arg(arguments, const char*));
        } else if (spec.kind == 'c') {
            text.put(static_cast<char>(va_arg(arguments, int)));
        } else if (spec.kind == 'd' || spec.kind == 'i') {
            const long value = spec.is_long ? va_arg(arguments, long) : va_arg(arguments, int);
            if (value < 0)
                text.put('-');
            text.number(value < 0 ? 0 - static_cast<u64>(value) : static_cast<u64>(value), 10, spec.width, spec.fill);
        } else if (spec.kind == 'p') {
            text.put("0x");
            text.number(va_arg(arguments, u64), 16, spec.width, '0');
        } else if (spec.kind == 'u' || spec.kind == 'x') {
            const u64 value = spec.is_long ? va_arg(arguments, u64) : va_arg(arguments, unsigned);
            text.number(value, spec.kind == 'x' ? 16 : 10, spec.width, spec.fill);
        } else {
            text.put(spec.kind);
        }
    }
    return text.finish();
}

void vprint(const char* format, va_list arguments) {
    char line[512];
    const auto length = format_text(line, sizeof line, format, arguments);
    console_write(line, length); // a domU may be refused: then the ring is all there is
    if (!is_dom0() && boot_info->console.domU.mfn != 0)
        write_ring(line, length);
}

void print(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprint(format, arguments);
    va_end(arguments);
}

} // namespace domus::guest
