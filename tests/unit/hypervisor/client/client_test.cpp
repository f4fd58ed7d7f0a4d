// The typed client against a fake hypervisor: structures sent, restarts, errors, hostile answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_raw.hpp"
#include "hypervisor/client/hypervisor.hpp"
#include "hypervisor/client/mappings.hpp"

namespace domus::client {
namespace {

using test::FakeRaw;
using testing::HasSubstr;

struct ClientTest : testing::Test {
    std::shared_ptr<FakeRaw> raw = std::make_shared<FakeRaw>();
    Hypervisor hypervisor{raw};
    void TearDown() override {
        EXPECT_EQ(raw->buffers, 0u) << "a hypercall buffer was not given back";
        EXPECT_TRUE(raw->live.empty()) << "a foreign mapping was not undone";
    }
};

TEST_F(ClientTest, CreateReturnsTheNumberTheHypervisorChose) {
    raw->sysctl = [](xen_sysctl& op) {
        op.u.physinfo.capabilities = XEN_SYSCTL_PHYSCAP_gnttab_v2;
        return 0L;
    };
    EXPECT_EQ(hypervisor.create_domain({}), 9);
}

TEST_F(ClientTest, DestroyAsksAgainUntilItIsDone) {
    raw->answers[XEN_DOMCTL_destroydomain] = {-EAGAIN, -EBUSY, -85, -EINTR};
    hypervisor.destroy_domain(5);
    EXPECT_EQ(raw->domctls.size(), 5u);
    raw->answers[XEN_DOMCTL_destroydomain] = {-ESRCH};
    EXPECT_THROW(hypervisor.destroy_domain(5), Error);
}

TEST_F(ClientTest, ErrorsNameOperationDomainReasonAndRemedy) {
    raw->answers[XEN_DOMCTL_unpausedomain] = {-ESRCH};
    try {
        hypervisor.unpause(12);
        FAIL() << "a refused operation went unnoticed";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ESRCH);
        EXPECT_EQ(error.domain(), 12);
        EXPECT_THAT(error.what(), HasSubstr("domctl unpausedomain for domain 12"));
        EXPECT_THAT(error.what(), HasSubstr("ESRCH"));
        EXPECT_THAT(error.what(), HasSubstr("domus list"));
    }
}

TEST_F(ClientTest, NoSuchDomainIsNoInformation) {
    raw->answers[XEN_DOMCTL_getdomaininfo] = {-ESRCH, -EPERM};
    EXPECT_FALSE(hypervisor.domain_info(3));
    EXPECT_THROW(hypervisor.domain_info(3), Error);
    EXPECT_EQ(hypervisor.domain_info(3)->shared_info_frame, raw->shared_info);
}

TEST_F(ClientTest, DomainsAreReadInBatchesToTheEnd) {
    raw->sysctl = [](xen_sysctl& op) {
        auto& list = op.u.getdomaininfolist;
        list.num_domains = 0;
        for (unsigned id = list.first_domain; id < 150 && list.num_domains < list.max_domains; ++id) {
            list.buffer.p[list.num_domains++].domain = static_cast<domid_t>(id);
        }
        return 0L;
    };
    const auto all = hypervisor.domains(1);
    ASSERT_EQ(all.size(), 149u);
    EXPECT_EQ(all.back().domid, 149);
}

TEST_F(ClientTest, AListLongerThanAskedForIsNotBelieved) {
    int calls = 0;
    raw->sysctl = [&](xen_sysctl& op) {
        auto& list = op.u.getdomaininfolist;
        for (unsigned i = 0; i < list.max_domains; ++i) {
            list.buffer.p[i].domain = DOMID_FIRST_RESERVED - 1;
        }
        list.num_domains = 1u << 30;
        ++calls;
        return 0L;
    };
    EXPECT_EQ(hypervisor.domains().size(), 64u);
    EXPECT_EQ(calls, 1);
}

TEST_F(ClientTest, CountersWithLyingSizesStayInsideTheBuffer) {
    raw->sysctl = [](xen_sysctl& op) {
        auto& query = op.u.perfc_op;
        query.nr_counters = 2;
        query.nr_vals = 3;
        if (query.desc.p) {
            std::memset(query.desc.p[0].name, 'x', sizeof query.desc.p[0].name); // no terminating zero
            query.desc.p[0].nr_vals = 2;
            query.desc.p[1].nr_vals = 1u << 31;
            query.val.p[2] = 7;
        }
        return 0L;
    };
    const auto counters = hypervisor.counters();
    ASSERT_EQ(counters.size(), 2u);
    EXPECT_EQ(counters[0].name.size(), 80u);
    EXPECT_EQ(counters[1].values, std::vector<std::uint32_t>{7});
}

TEST_F(ClientTest, AHypervisorWithoutCountersHasNone) {
    EXPECT_TRUE(hypervisor.counters().empty());
}

TEST_F(ClientTest, ConsoleIsReadInPiecesAndGoesOnWhereItStopped) {
    const std::string log(40000, 'a');
    raw->sysctl = [&](xen_sysctl& op) {
        auto& read = op.u.readconsole;
        const std::uint32_t count = std::min<std::size_t>(read.count, log.size() - read.index);
        std::memcpy(read.buffer.p, log.data() + read.index, count);
        read.index += count;
        read.count = count;
        return 0L;
    };
    const auto all = hypervisor.read_console();
    EXPECT_EQ(all.text, log);
    EXPECT_EQ(all.next_index, log.size());
    EXPECT_EQ(hypervisor.read_console(all.next_index).text, "");
}

TEST_F(ClientTest, PopulateTellsHowMuchWasGiven) {
    raw->frames_left = 2;
    std::uint64_t frames[] = {0, 1, 2, 3};
    EXPECT_EQ(hypervisor.populate(1, frames, 0), 2u);
    EXPECT_TRUE(raw->pages.contains(frames[1]));
    EXPECT_EQ(frames[2], 2u) << "what was not given keeps its number";
}

TEST_F(ClientTest, AMappingFailsWholeNamingTheFrame) {
    std::uint64_t frames[] = {0, 1};
    hypervisor.populate(1, frames, 0);
    raw->unmappable = frames[1];
    try {
        ForeignMap map(raw, 1, frames);
        FAIL() << "a hole in a mapping went unnoticed";
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("map mfn 0x"));
    }
}

TEST_F(ClientTest, AMappingMovesAndUndoesItselfOnce) {
    std::uint64_t frames[] = {0};
    hypervisor.populate(1, frames, 0);
    ForeignMap first(raw, 1, frames), second;
    first.data()[7] = 1;
    second = std::move(first);
    EXPECT_FALSE(first);
    second.reset();
    EXPECT_EQ(raw->pages[frames[0]][7], 1);
}

} // namespace
} // namespace domus::client
