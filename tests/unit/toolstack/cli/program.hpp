// The program domus, run against domusd's server in this process, which serves an engine over fakes.
#pragma once

#include "tests/unit/toolstack/fake/world.hpp"
#include "toolstack/daemon/server.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace domus::cli {

struct Ran {
    int status = -1; // of the process; 128 and more: the signal that ended it
    std::string out, err;
};

class ProgramTest : public testing::Test {
protected:
    ProgramTest();
    ~ProgramTest() override;

    /// Runs `domus --socket ... ARGUMENTS` to its end. `out`: the file that its standard output goes to.
    Ran domus(std::vector<std::string> arguments, std::string out = {});
    /// The same with --json, which must succeed; its answer.
    template <class Message>
    Message json(std::vector<std::string> arguments) {
        arguments.emplace_back("--json");
        const Ran ran = domus(std::move(arguments));
        EXPECT_EQ(ran.status, 0) << ran.err;
        EXPECT_EQ(ran.err, "");
        Message message;
        read_json(ran.out, message);
        return message;
    }
    /// Writes a file into the test's folder and returns its path.
    std::string file(const std::string& name, const std::string& text) const;
    /// A configuration that the world can run.
    std::string config(const std::string& name) const;

    engine::test::World world;
    daemon::Dispatcher dispatcher{*world.engine, world.hypervisor, world.host, world.hypervisor};
    std::string socket = world.folder + "/domusd.sock", console_socket = world.folder + "/console.sock";

private:
    static void read_json(const std::string& text, google::protobuf::Message& message);

    boost::asio::local::stream_protocol::acceptor acceptor_;
    bool served_ = false;
};

} // namespace domus::cli
