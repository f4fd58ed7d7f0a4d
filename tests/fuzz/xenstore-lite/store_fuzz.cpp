// The store under arbitrary bytes: a stream of commands, each a connection and bytes for it, or a domain's death.
// The bytes go through the wire decoder into the store; whatever it journals must decode, rebuild a store and give
// the same tree. Aborts on any difference; the sanitizers see the rest. Unprivileged connections cannot be told from
// domain 0 by the fuzzer's bytes, so both are fuzzed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "xenstore-lite/tree/store.hpp"

namespace {
using namespace domus::xenstore;
using namespace domus::xenstore::tree;

struct FuzzHost final : Host {
    bool domain_exists(std::uint16_t domid) override { return domid < 8; }
    int connect(std::uint16_t domid, std::uint64_t, std::uint32_t) override { return domid < 8 ? 0 : ENOENT; }
    void disconnect(std::uint16_t) override {}
    void deliver(ConnectionId, const wire::Message& message) override {
        if (message.payload.size() > wire::max_payload) {
            std::abort();
        }
        ++delivered;
    }
    bool congested(ConnectionId connection) override { return stuck.contains(connection); }
    void log_requests(bool) override {}
    void print(const std::string&) override {}
    void record(Record each) override {
        std::string bytes;
        encode(each, bytes);
        std::string_view rest = bytes;
        if (decode(rest) != each || !rest.empty()) {
            std::abort();
        }
        records.push_back(std::move(each));
    }
    std::size_t delivered = 0;
    std::set<ConnectionId> stuck;
    std::vector<Record> records;
};

void check_rebuild(const FuzzHost& host, const Store& store) {
    FuzzHost other;
    Store again(other, store.limits());
    for (const auto& record : host.records) {
        again.restore(record);
    }
    again.restored();
    if (again.snapshot() != store.snapshot()) {
        std::abort();
    }
}

constexpr ConnectionId tools = first_socket + 1;

ConnectionId connection_of(std::uint8_t byte) {
    return byte % 4 == 0 ? tools : byte % 4;
}

/// Guests 1 to 3 with homes, one of them open to everybody.
void furnish(Store& store) {
    for (const char domid : {'1', '2', '3'}) {
        const std::string home = std::string("/local/domain/") + domid;
        store.handle(tools, {XS_MKDIR, 1, 0, home + '\0'});
        store.handle(tools, {XS_SET_PERMS, 1, 0, home + '\0' + (domid == '3' ? "b" : "n") + domid + '\0'});
        store.handle(tools, {XS_INTRODUCE, 1, 0, wire::join({std::string(1, domid), "1", "1"})});
    }
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FuzzHost host;
    Limits limits;
    limits.nodes = 30;
    limits.watches = 5;
    Store store(host, limits);
    store.open(tools, 0);
    furnish(store);
    std::map<ConnectionId, wire::Decoder> decoders;
    while (size >= 2) {
        const std::uint8_t command = data[0];
        const std::size_t count = std::min<std::size_t>(data[1], size - 2);
        const ConnectionId connection = connection_of(command);
        if (command < 0xe0) {
            auto& decoder = decoders[connection];
            decoder.feed({reinterpret_cast<const char*>(data + 2), count});
            while (const auto message = decoder.next()) {
                store.handle(connection, *message);
            }
        } else if (command < 0xe8) {
            std::vector<DomainState> alive{{0, false, false}};
            for (std::uint16_t domid = 1; domid < 4; ++domid) {
                if ((count >> domid) % 2) {
                    alive.push_back({domid, command % 2 != 0, command % 4 == 3});
                }
            }
            store.domains_changed(alive);
        } else if (command < 0xf0) {
            host.stuck.insert(connection);
        } else {
            host.stuck.erase(connection);
            store.drained(connection);
        }
        data += 2 + count;
        size -= 2 + count;
    }
    check_rebuild(host, store);
    return 0;
}
