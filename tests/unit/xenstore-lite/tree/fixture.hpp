// A store with a host that only remembers, and clients that speak whole messages. For the tests of tree/.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "xenstore-lite/tree/store.hpp"

namespace domus::xenstore::tree {

/// Remembers what the store delivers and journals; domains exist unless listed in `absent`.
struct FakeHost : Host {
    bool domain_exists(std::uint16_t domid) override { return !absent.contains(domid); }
    int connect(std::uint16_t domid, std::uint64_t, std::uint32_t) override {
        connected.insert(domid);
        return connect_result;
    }
    void disconnect(std::uint16_t domid) override { connected.erase(domid); }
    void deliver(ConnectionId connection, const wire::Message& message) override {
        EXPECT_LE(message.payload.size(), wire::max_payload);
        delivered[connection].push_back(message);
    }
    bool congested(ConnectionId connection) override { return stuck.contains(connection); }
    void log_requests(bool) override {}
    void print(const std::string& text) override { printed += text; }
    void record(Record each) override { records.push_back(std::move(each)); }

    std::set<std::uint16_t> absent;
    std::set<std::uint16_t> connected;
    std::set<ConnectionId> stuck;
    int connect_result = 0;
    std::string printed;
    std::map<ConnectionId, std::vector<wire::Message>> delivered;
    std::vector<Record> records;
};

/// A reply as the client sees it: an error name, or the payload.
struct Answer {
    std::string error;
    std::string payload;

    bool ok() const { return error.empty(); }
};

class StoreTest : public testing::Test {
protected:
    static constexpr ConnectionId tools = first_socket + 1; // domain 0's tools

    explicit StoreTest(const Limits& limits = {}) : store(host, limits) { store.open(tools, 0); }

    /// One request; its answer. Events that come with it stay in the host.
    Answer ask(ConnectionId client, std::uint32_t type, const std::string& payload, std::uint32_t tx = 0) {
        static std::uint32_t id = 1;
        ++id;
        store.handle(client, {type, id, tx, payload});
        auto& list = host.delivered[client];
        for (auto message = list.begin(); message != list.end(); ++message) {
            if (message->type != XS_WATCH_EVENT && message->req_id == id) {
                EXPECT_EQ(message->tx_id, tx);
                EXPECT_TRUE(message->type == type || message->type == XS_ERROR);
                Answer answer{message->type == XS_ERROR ? message->payload : std::string(), message->payload};
                if (!answer.error.empty()) {
                    answer.error.pop_back();
                }
                list.erase(message);
                return answer;
            }
        }
        return {"no answer", {}};
    }

    static std::string nul(std::string text) { return text + '\0'; }

    std::string read(ConnectionId client, const std::string& path, std::uint32_t tx = 0) {
        const Answer answer = ask(client, XS_READ, nul(path), tx);
        return answer.ok() ? answer.payload : answer.error;
    }
    std::string write(ConnectionId client, const std::string& path, const std::string& value, std::uint32_t tx = 0) {
        return ask(client, XS_WRITE, nul(path) + value, tx).error;
    }
    std::string mkdir(ConnectionId client, const std::string& path) { return ask(client, XS_MKDIR, nul(path)).error; }
    std::string rm(ConnectionId client, const std::string& path, std::uint32_t tx = 0) {
        return ask(client, XS_RM, nul(path), tx).error;
    }
    std::string list(ConnectionId client, const std::string& path, std::uint32_t tx = 0) {
        const Answer answer = ask(client, XS_DIRECTORY, nul(path), tx);
        std::string names;
        for (const auto& name : wire::split(answer.ok() ? answer.payload : answer.error)) {
            names += names.empty() ? name : "," + name;
        }
        return names;
    }
    std::string chmod(ConnectionId client, const std::string& path, const std::vector<std::string>& permissions,
                      std::uint32_t tx = 0) {
        return ask(client, XS_SET_PERMS, nul(path) + wire::join(permissions), tx).error;
    }
    std::string permissions(ConnectionId client, const std::string& path) {
        const Answer answer = ask(client, XS_GET_PERMS, nul(path));
        std::string text;
        for (const auto& each : wire::split(answer.ok() ? answer.payload : answer.error)) {
            text += text.empty() ? each : "," + each;
        }
        return text;
    }
    std::string watch(ConnectionId client, const std::string& path, const std::string& token,
                      const std::string& depth = {}) {
        return ask(client, XS_WATCH, wire::join({path, token}) + (depth.empty() ? "" : nul(depth))).error;
    }
    std::uint32_t begin(ConnectionId client) {
        const Answer answer = ask(client, XS_TRANSACTION_START, nul(""));
        EXPECT_TRUE(answer.ok()) << answer.error;
        return answer.ok() ? static_cast<std::uint32_t>(std::stoul(answer.payload)) : 0;
    }
    std::string end(ConnectionId client, std::uint32_t tx, bool commit = true) {
        return ask(client, XS_TRANSACTION_END, nul(commit ? "T" : "F"), tx).error;
    }
    /// Events since the last call, as "path token".
    std::vector<std::string> events(ConnectionId client) {
        std::vector<std::string> all;
        std::erase_if(host.delivered[client], [&](const wire::Message& message) {
            if (message.type != XS_WATCH_EVENT) {
                return false;
            }
            const auto strings = wire::split(message.payload);
            all.push_back(strings.at(0) + " " + strings.at(1));
            return true;
        });
        return all;
    }
    /// A guest with a home of its own that it owns below "data", as the toolstack makes it.
    ConnectionId guest(std::uint16_t domid) {
        const std::string home = "/local/domain/" + std::to_string(domid);
        EXPECT_EQ(mkdir(tools, home), "");
        EXPECT_EQ(chmod(tools, home, {"n0", "r" + std::to_string(domid)}), "");
        EXPECT_EQ(mkdir(tools, home + "/data"), "");
        EXPECT_EQ(chmod(tools, home + "/data", {"n" + std::to_string(domid)}), "");
        EXPECT_EQ(ask(tools, XS_INTRODUCE, wire::join({std::to_string(domid), "4711", "5"})).error, "");
        return domid;
    }
    std::string check() { return ask(tools, XS_CONTROL, nul("check")).payload; }
    /// The tree's text: every path with value and permissions.
    static std::string dump(const Store& store) {
        std::string text;
        for_each(store.tree().root(), "/", [&](const std::string& path, const Node& node) {
            text += path + "=" + node.value;
            for (const auto& permission : node.permissions) {
                text += " " + wire::to_string(permission);
            }
            text += "\n";
        });
        return text;
    }

    FakeHost host;
    Store store;
};

} // namespace domus::xenstore::tree
