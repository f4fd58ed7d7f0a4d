// The program domus in a child process. See program.hpp.
#include <utility>

#include "tests/unit/toolstack/cli/program.hpp"

#include "toolstack/proto/json.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <sys/wait.h>

namespace domus::cli {

namespace {

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

} // namespace

ProgramTest::ProgramTest() : acceptor_(daemon::listen_at(world.io.get_executor(), socket)) {
    boost::asio::co_spawn(world.io, daemon::serve(acceptor_, dispatcher),
                          [this](std::exception_ptr) { served_ = true; });
}

ProgramTest::~ProgramTest() {
    acceptor_.close();
    world.wait([this] { return served_; });
}

Ran ProgramTest::domus(std::vector<std::string> arguments, std::string out) {
    arguments.insert(arguments.begin(), {DOMUS_PROGRAM, "--socket", socket, "--console-socket", console_socket});
    std::vector<char*> words;
    for (auto& argument : arguments)
        words.push_back(argument.data());
    words.push_back(nullptr);
    const bool kept = out.empty();
    if (kept)
        out = world.folder + "/out";
    const std::string err = world.folder + "/err";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid = 0;
    const int failed = ::posix_spawn(&pid, DOMUS_PROGRAM, &actions, nullptr, words.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        throw std::runtime_error("cannot start " DOMUS_PROGRAM);
    int status = 0;
    world.wait([&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), kept ? read_file(out) : "",
            read_file(err)};
}

std::string ProgramTest::file(const std::string& name, const std::string& text) const {
    std::ofstream(world.folder + "/" + name, std::ios::binary) << text;
    return world.folder + "/" + name;
}

std::string ProgramTest::config(const std::string& name) const {
    return file(name + ".cfg",
                "name = '" + name +
                    "'\nkernel = '/boot/vmlinuz'\nmemory = 128\nmaxmem = 256\n"
                    "disk = [ '/srv/a.img,raw,xvda,rw' ]\nvif = [ 'mac=00:16:3e:00:00:01,backendtype=linux' ]\n");
}

void ProgramTest::read_json(const std::string& text, google::protobuf::Message& message) {
    try {
        proto::from_json(text, message);
    } catch (const std::exception& e) {
        ADD_FAILURE() << e.what() << ":\n" << text;
    }
}

} // namespace domus::cli
