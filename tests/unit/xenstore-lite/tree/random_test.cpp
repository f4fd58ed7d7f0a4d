// Many random requests, well-formed and not, from several domains, with deaths and restarts in between. What must
// hold at every moment: no crash, every request answered once, the accounts add up, no guest sees what it may not,
// and the journal rebuilds exactly the store that wrote it.
#include "fixture.hpp"

#include <random>

namespace domus::xenstore::tree {

class Random : public StoreTest {
protected:
    static constexpr int steps = 30000;

    std::string path() {
        static const std::vector<std::string> bases = {
            "data",   "/local/domain/1/data", "/local/domain/2/data", "/shared", "/",
            "data/a", "@releaseDomain",       "/local/domain/1"};
        std::string text = bases[random() % bases.size()];
        for (auto levels = random() % 3; levels != 0; --levels) {
            text += std::string("/") + static_cast<char>('a' + random() % 3);
        }
        return random() % 50 == 0 ? text + "/" : text;
    }

    std::string payload(std::uint32_t type) {
        switch (type) {
        case XS_WRITE:
            return nul(path()) + std::string(random() % 40, 'v');
        case XS_WATCH:
        case XS_UNWATCH:
            return wire::join({path(), std::to_string(random() % 3)}) + (random() % 4 ? "" : nul("1"));
        case XS_SET_PERMS:
            return wire::join({path(), "nrwb"[random() % 4] + std::to_string(random() % 4),
                               "nrwb"[random() % 4] + std::to_string(random() % 4)});
        case XS_TRANSACTION_START:
        case XS_RESET_WATCHES:
            return nul("");
        case XS_TRANSACTION_END:
            return nul(random() % 3 ? "T" : "F");
        case XS_INTRODUCE:
            return wire::join({std::to_string(1 + random() % 3), "1", std::to_string(1 + random() % 2)});
        case XS_RELEASE:
        case XS_RESUME:
        case XS_IS_DOMAIN_INTRODUCED:
        case XS_GET_DOMAIN_PATH:
            return nul(std::to_string(random() % 5));
        case XS_SET_TARGET:
            return wire::join({std::to_string(random() % 4), std::to_string(random() % 4)});
        case XS_DIRECTORY_PART:
            return wire::join({path(), std::to_string(random() % 20)});
        default:
            return nul(path());
        }
    }

    void request(ConnectionId client) {
        static constexpr std::uint32_t frequent[] = {XS_WRITE, XS_RM, XS_READ, XS_MKDIR, XS_SET_PERMS, XS_WATCH};
        std::uint32_t type = random() % 2 ? frequent[random() % 6] : random() % (XS_TYPE_COUNT + 1);
        std::string bytes = payload(type);
        if (random() % 30 == 0) { // not what the type wants
            bytes = std::string(random() % 60, '\0');
            for (auto& byte : bytes) {
                byte = "/ab\0T@1"[random() % 7];
            }
        }
        const std::uint32_t tx = random() % 3 ? 0 : random() % 6;
        const auto before = host.delivered[client].size();
        const bool open = client >= first_socket || (store.domains().contains(static_cast<std::uint16_t>(client)) &&
                                                     !store.domains().at(static_cast<std::uint16_t>(client)).dying);
        const Answer answer = ask(client, type, bytes, type == XS_TRANSACTION_START ? 0 : tx);
        EXPECT_EQ(answer.error == "no answer", !open) << type;
        EXPECT_GE(host.delivered[client].size(), open ? before : 0); // only events are left
        host.delivered.clear();
    }

    std::mt19937 random{20240607};
};

TEST_F(Random, EverythingAddsUp) {
    write(tools, "/shared", "");
    chmod(tools, "/shared", {"b0"});
    for (std::uint16_t domid = 1; domid < 4; ++domid) {
        guest(domid);
    }
    for (int step = 0; step < steps && !HasFailure(); ++step) {
        const ConnectionId who = random() % 4;
        request(who == 0 ? tools : who);
        if (random() % 400 == 0) {
            const auto dead = static_cast<std::uint16_t>(1 + random() % 3);
            std::vector<DomainState> alive;
            for (std::uint16_t domid = 0; domid < 4; ++domid) {
                if (domid != dead || random() % 2) {
                    alive.push_back({domid, domid == dead, domid == dead && random() % 2 != 0});
                }
            }
            store.domains_changed(alive);
            guest(dead);
        }
        if (step % 500 == 0) {
            ASSERT_THAT(check(), testing::Not(testing::HasSubstr("charged"))) << step;
            FakeHost other;
            Store revived(other, {});
            for (const auto& record : host.records) {
                revived.restore(record);
            }
            revived.restored();
            ASSERT_EQ(dump(revived), dump(store)) << step;
            ASSERT_EQ(revived.snapshot(), store.snapshot()) << step;
            host.records = store.snapshot();
        }
    }
}

} // namespace domus::xenstore::tree
