// Guests as messages and as JSON: nothing is lost on the way, and damaged state is refused with a message.
#include "toolstack/proto/convert.hpp"
#include "toolstack/proto/json.hpp"

#include "toolstack/model/config.hpp"

#include <gtest/gtest.h>

namespace domus::proto {
namespace {

model::Domain guest() {
    auto parsed = model::parse_config(
        "f",
        "name=\"g\"\nuuid=\"00112233-4455-6677-8899-aabbccddeeff\"\nkernel=\"/k\"\nramdisk=\"/r\"\nextra=\"quiet\"\n"
        "memory=256\nmaxmem=512\nvcpus=2\nmaxvcpus=3\ncpu_weight=300\ncap=50\ntsc_mode=\"native\"\n"
        "on_poweroff=\"preserve\"\non_reboot=\"destroy\"\non_crash=\"rename-restart\"\n"
        "disk=['/d,raw,xvda,r','/e,raw,xvdb,w']\nvif=['mac=00:16:3e:00:00:01,bridge=b,mtu=1400,rate=10Mb/"
        "s@20ms','']\n");
    return parsed.domain;
}

TEST(Json, GuestComesBackWhole) {
    DomainConfig read;
    from_json(to_json(to_proto(guest())), read);
    EXPECT_EQ(to_model(read), guest());
}

TEST(Json, LeastGuestComesBackWhole) {
    model::Domain least;
    least.name = "g";
    least.kernel = "/k";
    DomainConfig read;
    from_json(to_json(to_proto(least)), read);
    EXPECT_EQ(to_model(read), least);
}

TEST(Json, UnknownFieldsOfANewerVersionAreIgnored) {
    DomainConfig read;
    from_json("{\"name\": \"g\", \"colour\": {\"red\": [1, 2]}}", read);
    EXPECT_EQ(read.name(), "g");
}

TEST(Json, DamagedTextIsRefused) {
    const std::string whole = to_json(to_proto(guest()));
    for (std::size_t length = 0; length + 2 < whole.size(); ++length) {
        DomainConfig read;
        EXPECT_THROW(from_json(whole.substr(0, length), read), std::runtime_error) << length;
    }
    DomainConfig read;
    EXPECT_THROW(from_json("[]", read), std::runtime_error);
    EXPECT_THROW(from_json("{\"name\": 5}", read), std::runtime_error);
}

} // namespace
} // namespace domus::proto
