// new-guest: writes the folder of a guest on guestkit: Makefile, main.cpp, configuration. Works alone, without domusd.
// The kit it builds against is found when it is written: --kit, an installed one, or the one of this program's own
// build.
#include "toolstack/cli/verbs.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>

namespace domus::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* installed_kit = "/usr/lib/domus/guestkit";

// In the texts @NAME@ is the guest's name and @KIT@ the kit's folder; @INCLUDE@ is none of this file's own.
constexpr std::string_view makefile =
    R"(# @NAME@: a guest of guestkit. `make` builds @NAME@.elf, `make run` creates it and shows its console.
KIT ?= @KIT@

all: @NAME@.elf
include $(KIT)/guest.mk
@NAME@.elf: main.o

.PHONY: all run clean
run: @NAME@.elf
	@command -v domus >/dev/null || { echo "There is no domus here: guests run in dom0. In Domus' sources:" \
	    "make run FILES=$(CURDIR), and there: cd @NAME@ && domus create -c @NAME@.cfg" >&2; exit 1; }
	domus create -c @NAME@.cfg
clean:
	rm -f *.o @NAME@.elf
)";

constexpr std::string_view configuration = R"(# domus create -c @NAME@.cfg, from this folder
name        = "@NAME@"
kernel      = "@NAME@.elf"
memory      = 4
on_poweroff = "destroy"
# disk      = ["/srv/@NAME@.img,raw,xvda,rw"]
)";

constexpr std::string_view program =
    R"(// @NAME@: a guest that says who it is, shows the beginning of its first disk if it has one, and answers what is typed.
@INCLUDE@ "frontend-drivers/guestkit/app.hpp"
@INCLUDE@ "frontend-drivers/guestkit/drivers/block.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

// Whole sectors go to and from memory of the guest's own, aligned.
alignas(512) u8 sector[512];

Task<Result<void>> show_disk(Kit& kit) {
    CO_LET(id, co_await Frontend::find(kit, "vbd")); // or return the error: there is no disk
    Disk disk(kit, id);
    CO_CHECK(co_await disk.connect());
    CO_CHECK(co_await disk.read(0, sector));
    print("disk of %lu sectors: %.*s\n", disk.sectors(), 32, reinterpret_cast<const char*>(sector));
    co_return co_await disk.close();
}

} // namespace

Task<void> app(Kit& kit) { // the whole guest: when it returns, the domain powers off
    const auto name = co_await kit.store.read("name");
    if (name)
        print("hello from %.*s\n", static_cast<int>(name.value().size()), name.value().data());
    const auto shown = co_await show_disk(kit);
    if (!shown)
        print("no disk: error %d\n", static_cast<int>(shown.error()));
    Text<256> line;
    do {
        co_await own_console().read_line(line);
        print("you typed '%.*s'; an empty line ends it\n", static_cast<int>(line.view().size()), line.view().data());
    } while (!line.view().empty());
}
)";

std::string filled(std::string_view text, const std::string& name, const std::string& kit) {
    std::string out(text);
    const std::pair<std::string_view, std::string_view> places[] = {
        {"@NAME@", name}, {"@KIT@", kit}, {"@INCLUDE@", "#include"}};
    for (const auto& [place, value] : places)
        for (auto at = out.find(place); at != out.npos; at = out.find(place, at + value.size()))
            out.replace(at, place.size(), value);
    return out;
}

// The name is a guest's, a folder's and a make target at once.
void check_name(const std::string& name) {
    const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), good) || name.front() == '-' ||
        std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }))
        throw std::runtime_error(fmt::format(
            "'{}' is no name for a new guest: use up to 64 letters, digits, - and _, not digits alone", name));
}

/// Empty: there is none.
std::string find_kit(const std::string& asked) {
    std::error_code ignored;
    const fs::path own = fs::read_symlink("/proc/self/exe", ignored); // build/product/toolstack/cli/domus
    const fs::path built = own.parent_path().parent_path().parent_path().parent_path() / "guestkit";
    for (const fs::path& kit : {fs::path(asked), fs::path(installed_kit), built}) {
        if (!kit.empty() && fs::exists(kit / "guest.mk", ignored))
            return fs::absolute(kit).lexically_normal().string();
        if (!asked.empty())
            throw std::runtime_error(fmt::format("{} is no guestkit: it has no guest.mk", asked));
    }
    return {};
}

void write(const fs::path& path, const std::string& text) {
    std::ofstream file(path);
    file << text;
    file.close();
    if (!file)
        throw std::runtime_error(fmt::format("cannot write {}", path.string()));
}

void new_guest(const std::string& name, const std::string& asked_kit) {
    check_name(name);
    const std::string found = find_kit(asked_kit);
    const std::string kit = found.empty() ? installed_kit : found; // written all the same: `make KIT=...` names another
    std::error_code error;
    if (!fs::create_directory(name, error)) {
        throw std::runtime_error(error ? fmt::format("cannot make the folder {}: {}", name, error.message())
                                       : fmt::format("{} exists already; take another name", name));
    }
    const fs::path folder(name);
    write(folder / "Makefile", filled(makefile, name, kit));
    write(folder / "main.cpp", filled(program, name, kit));
    write(folder / (name + ".cfg"), filled(configuration, name, kit));
    fmt::print("{}: main.cpp, Makefile, {}.cfg. ", name, name);
    if (found.empty())
        fmt::print("There is no guestkit here ({} is not there): build it where Domus was built (make KIT=DIR, its "
                   "build/guestkit), bring {}.elf here, and start it: domus create -c {}.cfg\n",
                   installed_kit, name, name);
    else
        fmt::print("Next: cd {} && make run\n", name);
}

} // namespace

void add_new_guest_verb(CLI::App& app) {
    auto name = std::make_shared<std::string>(), kit = std::make_shared<std::string>();
    CLI::App* verb = app.add_subcommand("new-guest", "Write the source of a small guest of your own, ready to build");
    verb->add_option("NAME", *name, "The guest's name, and the folder's")->required();
    verb->add_option("--kit", *kit, "Where guestkit is, if not installed");
    verb->callback([name, kit] { new_guest(*name, *kit); });
}

} // namespace domus::cli
