// Frames under hostile bytes: lengths that lie, bodies that are no message, ends that hang up.
#include <utility>

#include "toolstack/proto/frame.hpp"

#include "domus.pb.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace domus::proto {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;

struct FrameTest : testing::Test {
    asio::io_context io{1};
    Socket ours{io}, theirs{io};

    void SetUp() override { asio::local::connect_pair(ours, theirs); }

    /// The peer sends these bytes and hangs up.
    void peer_sends(const std::string& bytes) {
        asio::write(theirs, asio::buffer(bytes));
        theirs.close();
    }
    /// Runs what there is to run; a coroutine that waits for bytes that never come is an error of the test.
    template <class T>
    T run(asio::awaitable<T> work) {
        auto result = asio::co_spawn(io, std::move(work), asio::use_future);
        io.restart();
        io.run();
        return result.get();
    }
    std::string receive_fails(google::protobuf::Message& into) {
        try {
            run(receive(ours, into));
            return "";
        } catch (const boost::system::system_error& e) {
            return e.code() == asio::error::eof ? "eof" : e.what();
        } catch (const std::exception& e) {
            return e.what();
        }
    }
    static std::string head(std::uint32_t length) {
        std::string out(4, '\0');
        for (unsigned i = 0; i < 4; ++i)
            out[i] = char(length >> (8 * i));
        return out;
    }
};

TEST_F(FrameTest, MessagesComeWholeAndInOrder) {
    Text out, in;
    for (const std::size_t size : {std::size_t(0), std::size_t(1), std::size_t(70000)}) {
        out.set_text(std::string(size, 'x'));
        auto sending = asio::co_spawn(io, send(theirs, out), asio::use_future);
        run(receive(ours, in));
        sending.get();
        EXPECT_EQ(in.text().size(), size);
    }
    run(send(theirs, Text()));
    EXPECT_EQ(receive_fails(in), "");
    EXPECT_EQ(in.text(), "") << "what was there before is gone";
}

TEST_F(FrameTest, LongLengthsAreRefusedBeforeAnythingIsReadOrAllocated) {
    for (const std::uint32_t length : {kLongestFrame + 1, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        Socket one(io), other(io);
        asio::local::connect_pair(one, other);
        ours = std::move(one);
        theirs = std::move(other);
        asio::write(theirs, asio::buffer(head(length))); // the peer stays: waiting for the body would hang
        Text in;
        EXPECT_THAT(receive_fails(in), HasSubstr(std::to_string(length) + " bytes was announced, at most 8388608"))
            << length;
    }
}

TEST_F(FrameTest, TheLongestFrameIsTaken) {
    Text in;
    std::string body("\x0a", 1); // field 1, with its length as a varint
    const std::size_t text = kLongestFrame - 5;
    for (std::size_t left = text; left > 0; left >>= 7)
        body += char((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    body.resize(kLongestFrame, 'y');
    std::string frame = head(kLongestFrame) + body;
    auto sending =
        asio::co_spawn(io, asio::async_write(theirs, asio::buffer(frame), asio::use_awaitable), asio::use_future);
    EXPECT_EQ(receive_fails(in), "");
    EXPECT_EQ(in.text().size(), text);
}

TEST_F(FrameTest, AMessageTooLongIsNotSent) {
    Text out;
    out.set_text(std::string(kLongestFrame, 'x'));
    try {
        run(send(ours, out));
        ADD_FAILURE() << "it was sent";
    } catch (const std::runtime_error& e) {
        EXPECT_THAT(e.what(), HasSubstr("does not fit into a frame"));
    }
    EXPECT_EQ(theirs.available(), 0u);
}

TEST_F(FrameTest, HangingUpBetweenFramesIsTheEnd) {
    peer_sends("");
    Text in;
    EXPECT_EQ(receive_fails(in), "eof");
}

TEST_F(FrameTest, HangingUpInsideAFrameIsTheEndToo) {
    for (const std::string& bytes : {std::string("\x05", 1), std::string("\x05\0\0", 3), head(5), head(5) + "abcd"}) {
        Socket one(io), other(io);
        asio::local::connect_pair(one, other);
        ours = std::move(one);
        theirs = std::move(other);
        peer_sends(bytes);
        Text in;
        EXPECT_EQ(receive_fails(in), "eof") << bytes.size();
    }
}

TEST_F(FrameTest, WhatIsNoMessageIsRefused) {
    peer_sends(head(3) + "\xff\xff\xff");
    Request in;
    EXPECT_THAT(receive_fails(in), HasSubstr("a frame of 3 bytes is not a domus.proto.Request"));
}

TEST_F(FrameTest, TextThatIsNotUtf8IsRefused) {
    peer_sends(head(3) + std::string("\x0a\x01\xff", 3));
    Text in;
    EXPECT_THAT(receive_fails(in), HasSubstr("is not a domus.proto.Text"));
}

// Whatever comes in, receive() ends with a message or a reason; the sanitizers watch.
TEST_F(FrameTest, RandomBodies) {
    std::mt19937 random(11);
    Request request;
    request.mutable_create()->mutable_config()->set_name("g");
    request.mutable_create()->mutable_config()->add_disks()->set_target("/d");
    const std::string whole = request.SerializeAsString();
    unsigned taken = 0;
    for (int round = 0; round < 500; ++round) {
        std::string body = whole;
        for (unsigned n = random() % 4; n > 0; --n)
            body[random() % body.size()] = char(random());
        body.resize(random() % 3 == 0 ? random() % (2 * whole.size()) : body.size(), char(random()));
        asio::write(theirs, asio::buffer(head(std::uint32_t(body.size())) + body));
        taken += receive_fails(request).empty();
    }
    EXPECT_GT(taken, 10u);
    EXPECT_LT(taken, 490u);
}

TEST(Versions, TheOlderOneIsToBeUpdated) {
    EXPECT_EQ(version_complaint(3, "domus", 3, "domusd"), "");
    EXPECT_THAT(version_complaint(3, "domus", 4, "domusd"), HasSubstr("update domus "));
    EXPECT_THAT(version_complaint(3, "domus", 2, "domusd"), HasSubstr("update domusd "));
}

} // namespace
} // namespace domus::proto
