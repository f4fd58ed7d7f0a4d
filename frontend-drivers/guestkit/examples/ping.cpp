// A guest that answers ARP and ping at the address on its command line (ip=10.9.0.9), and powers off after five
// answers.
#include "frontend-drivers/guestkit/app.hpp"
#include "frontend-drivers/guestkit/drivers/net.hpp"

#include <algorithm>
#include <cstring>

using namespace domus;
using namespace domus::guest;

namespace {

using Ip = std::array<u8, 4>;
constexpr u32 answers = 5;
u8 frame[NetworkCard::longest_frame];

// The address behind "ip=" on the command line.
bool own_address(Ip& ip) {
    auto text = command_line();
    const auto at = text.find("ip=");
    if (at == text.npos)
        return false;
    text.remove_prefix(at + 3);
    usize part = 0;
    u32 number = 0;
    for (const char c : text) {
        if (c == '.' && part < 3)
            ip[part++] = static_cast<u8>(std::exchange(number, 0));
        else if (c >= '0' && c <= '9')
            number = number * 10 + static_cast<u32>(c - '0');
        else
            break;
    }
    ip[part] = static_cast<u8>(number);
    return part == 3;
}

u32 word(usize at) {
    return u32{frame[at]} << 8 | frame[at + 1];
}

void answer_to(const MacAddress& own) {
    std::memcpy(frame, frame + 6, 6);
    std::memcpy(frame + 6, own.data(), 6);
}

// Who has our address? We do: at 14 the ARP packet; sender at 22, target at 32.
bool answer_arp(usize length, const MacAddress& own, const Ip& ip) {
    if (length < 42 || word(12) != 0x0806 || word(20) != 1 || std::memcmp(frame + 38, ip.data(), 4) != 0)
        return false;
    answer_to(own);
    frame[21] = 2; // reply
    std::memcpy(frame + 32, frame + 22, 10);
    std::memcpy(frame + 22, own.data(), 6);
    std::memcpy(frame + 28, ip.data(), 4);
    return true;
}

// An echo request to us becomes the reply: addresses change places, the type changes and with it the checksum.
bool answer_ping(usize length, const MacAddress& own, const Ip& ip) {
    if (length < 42 || word(12) != 0x0800 || frame[14] != 0x45 || frame[23] != 1 || frame[34] != 8 ||
        std::memcmp(frame + 30, ip.data(), 4) != 0)
        return false;
    answer_to(own);
    std::swap_ranges(frame + 26, frame + 30, frame + 30);
    frame[34] = 0;
    u32 sum = word(36) + 0x0800; // one's complement: the sum lost 0x0800, so its complement gains it
    sum = (sum & 0xffff) + (sum >> 16);
    frame[36] = static_cast<u8>(sum >> 8);
    frame[37] = static_cast<u8>(sum);
    return true;
}

Task<Result<void>> work(Kit& kit, const Ip& ip) {
    CO_LET(id, co_await Frontend::find(kit, "vif"));
    NetworkCard card(kit, id);
    CO_CHECK(co_await card.connect());
    const auto& mac = card.address();
    print("card %02x:%02x:%02x:%02x:%02x:%02x at %u.%u.%u.%u\n", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], ip[0],
          ip[1], ip[2], ip[3]);
    for (u32 pings = 0; pings < answers;) {
        CO_LET(length, co_await card.receive(frame));
        const bool ping = answer_ping(length, mac, ip);
        pings += ping;
        if (ping || answer_arp(length, mac, ip))
            CO_CHECK(co_await card.send(std::span(frame, length)));
    }
    CO_CHECK(co_await card.close());
    print("%u grants left, %lu frames dropped\n", kit.grants.lent(), card.dropped());
    co_return Result<void>();
}

} // namespace

Task<void> app(Kit& kit) {
    Ip ip{};
    if (!own_address(ip))
        die("no ip=A.B.C.D on the command line");
    const auto result = co_await work(kit, ip);
    print("ping guest: %s %d\n", result ? "done" : "error", static_cast<int>(result.error()));
}
