// Stray writes: the decoder for stores, alone and against the processor it runs on, and the fault path on the fake
// machine.
#include "guest.hpp"

#include "hypervisor/pv/stray_decode.hpp"
#include "hypervisor/pv/stray_writes.hpp"

#include <random>
#include <sys/mman.h>

namespace domus::test {
namespace {

std::optional<Store> decode(std::vector<u8> bytes) {
    return decode_store(bytes);
}

TEST(StoreDecoder, KnowsTheStoresOfAKernel) {
    EXPECT_EQ(decode({0x48, 0x89, 0x37})->kind, StoreKind::Move); // mov %rsi,(%rdi)
    EXPECT_EQ(decode({0x48, 0x89, 0x37})->source_register, 6);
    EXPECT_EQ(decode({0xf0, 0x80, 0x27, 0xfd})->kind, StoreKind::And); // lock andb $0xfd,(%rdi)
    EXPECT_EQ(decode({0xf0, 0x80, 0x27, 0xfd})->size, 1);
    EXPECT_EQ(decode({0xf0, 0x48, 0x0f, 0xba, 0x33, 0x01})->kind, StoreKind::BitReset);    // lock btrq $1,(%rbx)
    EXPECT_EQ(decode({0xf0, 0x4d, 0x0f, 0xb1, 0x04, 0x24})->source_register, 8);           // lock cmpxchg %r8,(%r12)
    EXPECT_EQ(decode({0x48, 0x87, 0x45, 0x10})->length, 4);                                // xchg %rax,0x10(%rbp)
    EXPECT_EQ(decode({0x48, 0xc7, 0x05, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff})->length, 11); // movq $-1,x(%rip)
    EXPECT_EQ(decode({0x48, 0xc7, 0x05, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff})->immediate, ~u64{0});
    EXPECT_EQ(decode({0x66, 0xc7, 0x00, 0x34, 0x12})->immediate, 0x1234u);
    EXPECT_TRUE(decode({0x88, 0x27})->high_byte);        // mov %ah,(%rdi)
    EXPECT_FALSE(decode({0x40, 0x88, 0x27})->high_byte); // mov %spl,(%rdi)
}

TEST(StoreDecoder, RefusesWhatItDoesNotKnow) {
    EXPECT_FALSE(decode({}));
    EXPECT_FALSE(decode({0x48, 0x89}));             // cut off
    EXPECT_FALSE(decode({0x48, 0x89, 0xf7}));       // register to register
    EXPECT_FALSE(decode({0xf0, 0x48, 0x89, 0x37})); // lock mov does not exist
    EXPECT_FALSE(decode({0x48, 0x39, 0x37}));       // cmp does not write
    EXPECT_FALSE(decode({0x48, 0xf7, 0x27}));       // mul
    EXPECT_FALSE(decode({0xa6}));                   // cmpsb
    EXPECT_FALSE(decode({0xac}));                   // lodsb
    EXPECT_FALSE(decode({0xae}));                   // scasb
    EXPECT_FALSE(decode({0xf0, 0xab}));             // lock stos does not exist
    EXPECT_FALSE(decode({0x67, 0xab}));             // by edi: no kernel does that
    EXPECT_FALSE(decode({0x65, 0x48, 0xa5}));       // from %gs: the base is not known here
    EXPECT_FALSE(decode({0xff, 0x17}));             // call
    EXPECT_FALSE(decode({0x0f, 0x29, 0x07}));       // movaps
    EXPECT_FALSE(decode(std::vector<u8>(15, 0x66)));
}

TEST(StoreDecoder, StandsAnyBytes) {
    std::mt19937 random(7);
    for (int i = 0; i < 300000; ++i) {
        u8 bytes[15];
        for (u8& byte : bytes)
            byte = static_cast<u8>(random());
        const usize size = random() % 16;
        const auto store = decode_store({bytes, size});
        if (!store)
            continue;
        ASSERT_LE(store->length, size);
        GuestRegs regs{};
        regs.rcx = random();
        const auto effect = evaluate_store(*store, regs, random());
        commit_store(*store, regs, 1, effect);
        const bool again = store->repeat && regs.rcx != 0;
        ASSERT_EQ(regs.rip, again ? 0 : store->length);
    }
}

TEST(StoreDecoder, KnowsStringStores) {
    const auto fill = decode({0xf3, 0x48, 0xab}); // rep stosq
    ASSERT_TRUE(fill);
    EXPECT_EQ(fill->kind, StoreKind::Fill);
    EXPECT_EQ(fill->size, 8);
    EXPECT_EQ(fill->length, 3);
    EXPECT_TRUE(fill->repeat);
    EXPECT_EQ(decode({0xaa})->size, 1);
    EXPECT_EQ(decode({0x66, 0xab})->size, 2);
    const auto copy = decode({0xa5}); // movsl
    ASSERT_TRUE(copy);
    EXPECT_EQ(copy->kind, StoreKind::Copy);
    EXPECT_EQ(copy->size, 4);
    EXPECT_FALSE(copy->repeat);
    EXPECT_TRUE(decode({0xf2, 0xa4})->repeat) << "the processor takes either prefix";
}

// The processor is the reference: run the same bytes on (%rdi), with rax, rcx and flags as given.
struct Native {
    Native() {
        code = static_cast<u8*>(
            mmap(nullptr, page_size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    ~Native() { munmap(code, page_size); }
    void run(std::span<const u8> bytes, u64& memory, GuestRegs& regs) {
        std::copy(bytes.begin(), bytes.end(), code);
        code[bytes.size()] = 0xc3; // ret
        u64 flags = regs.rflags;
        asm volatile("push %[flags]; popfq; call *%[code]; pushfq; pop %[flags]"
                     : "+a"(regs.rax), "+c"(regs.rcx), [flags] "+r"(flags)
                     : "D"(&memory), [code] "r"(code)
                     : "memory", "cc");
        regs.rflags = flags;
    }
    void run_string(std::span<const u8> bytes, GuestRegs& regs) {
        std::copy(bytes.begin(), bytes.end(), code);
        code[bytes.size()] = 0xc3; // ret
        asm volatile("test %[down], %[down]; jz 1f; std; 1: call *%[code]; cld"
                     : "+c"(regs.rcx), "+D"(regs.rdi), "+S"(regs.rsi)
                     : "a"(regs.rax), [down] "r"(regs.rflags & 1 << 10), [code] "r"(code)
                     : "memory", "cc");
    }
    u8* code;
};

TEST(StoreDecoder, DoesWhatTheProcessorDoes) {
    // Each works on (%rdi) with %rcx or an immediate.
    const std::vector<std::vector<u8>> forms = {{0x48, 0x89, 0x0f},
                                                {0x89, 0x0f},
                                                {0x66, 0x89, 0x0f},
                                                {0x88, 0x0f},
                                                {0x88, 0x2f},
                                                {0x48, 0x87, 0x0f},
                                                {0x87, 0x0f},
                                                {0x66, 0x87, 0x0f},
                                                {0x86, 0x2f},
                                                {0xf0, 0x48, 0x0f, 0xb1, 0x0f},
                                                {0x0f, 0xb1, 0x0f},
                                                {0x0f, 0xb0, 0x0f},
                                                {0xf0, 0x48, 0x0f, 0xc1, 0x0f},
                                                {0x0f, 0xc0, 0x2f},
                                                {0x48, 0x21, 0x0f},
                                                {0x21, 0x0f},
                                                {0x48, 0x09, 0x0f},
                                                {0x30, 0x0f},
                                                {0x48, 0x01, 0x0f},
                                                {0x28, 0x0f},
                                                {0x48, 0x83, 0x27, 0xfd},
                                                {0xf0, 0x80, 0x27, 0xfd},
                                                {0x81, 0x0f, 1, 2, 3, 0x84},
                                                {0x66, 0x81, 0x37, 1, 0x82},
                                                {0x48, 0xf7, 0x17},
                                                {0x48, 0xf7, 0x1f},
                                                {0xf6, 0x1f},
                                                {0x48, 0xff, 0x07},
                                                {0xfe, 0x0f},
                                                {0xf0, 0x48, 0x0f, 0xba, 0x37, 0x01},
                                                {0x0f, 0xba, 0x2f, 0x1f},
                                                {0x66, 0x0f, 0xba, 0x3f, 0x0b},
                                                {0x48, 0xc7, 0x07, 0xf0, 0xff, 0xff, 0xff}};
    Native native;
    std::mt19937_64 random(11);
    constexpr u64 defined = 1 | 1 << 6 | 1 << 7 | 1 << 11 | 1 << 2;
    for (const auto& bytes : forms) {
        for (int i = 0; i < 200; ++i) {
            u64 memory = i % 4 == 0 ? u64{0} - i % 3 : random();
            GuestRegs regs{};
            regs.rax = i % 2 ? memory : random();
            regs.rcx = i % 5 == 0 ? memory : random();
            regs.rflags = 0x202 | (random() & 0x8c5);
            GuestRegs expected = regs;
            u64 expected_memory = memory;
            native.run(bytes, expected_memory, expected);
            const auto store = decode_store(bytes);
            ASSERT_TRUE(store) << testing::PrintToString(bytes);
            const u64 mask = store->size == 8 ? ~u64{0} : (u64{1} << 8 * store->size) - 1;
            const auto effect = evaluate_store(*store, regs, memory & mask);
            commit_store(*store, regs, memory & mask, effect);
            if (effect.writes)
                memory = (memory & ~mask) | effect.value;
            const bool bits = store->kind >= StoreKind::BitSet; // leave all flags but carry undefined
            ASSERT_EQ(memory, expected_memory) << testing::PrintToString(bytes);
            ASSERT_EQ(regs.rax, expected.rax) << testing::PrintToString(bytes);
            ASSERT_EQ(regs.rcx, expected.rcx) << testing::PrintToString(bytes);
            ASSERT_EQ(regs.rflags & (bits ? 1 : defined), expected.rflags & (bits ? 1 : defined))
                << testing::PrintToString(bytes);
        }
    }
}

// Element by element, as faults come, until rip moves on: the same memory and registers as the processor leaves.
TEST(StoreDecoder, DoesStringStoresAsTheProcessor) {
    const std::vector<std::vector<u8>> forms = {{0xf3, 0x48, 0xab}, {0xf3, 0xab}, {0xf3, 0x66, 0xab}, {0xf3, 0xaa},
                                                {0xf3, 0x48, 0xa5}, {0xf3, 0xa5}, {0xf3, 0x66, 0xa5}, {0xf3, 0xa4},
                                                {0x48, 0xab},       {0xaa},       {0x48, 0xa5},       {0xa4}};
    Native native;
    for (const auto& bytes : forms) {
        for (const u64 count : {0, 1, 5}) {
            for (const bool down : {false, true}) {
                u64 from[16], expected[16] = {}, memory[16] = {};
                for (u64 i = 0; i < 16; ++i)
                    from[i] = i * 0x0123456789abcdef;
                GuestRegs regs{};
                regs.rax = 0xfedcba9876543210, regs.rcx = count, regs.rflags = 0x202 | (down ? 1 << 10 : 0);
                regs.rdi = reinterpret_cast<u64>(memory + 8), regs.rsi = reinterpret_cast<u64>(from + 8);
                GuestRegs after = regs;
                after.rdi = reinterpret_cast<u64>(expected + 8);
                native.run_string(bytes, after);
                const auto store = decode_store(bytes);
                ASSERT_TRUE(store);
                const u64 mask = store->size == 8 ? ~u64{0} : (u64{1} << 8 * store->size) - 1;
                for (u32 runs = 0; regs.rip == 0 && runs < 10; ++runs) {
                    Store one = *store;
                    if (one.kind == StoreKind::Copy)
                        std::memcpy(&one.immediate, reinterpret_cast<void*>(regs.rsi), one.size);
                    u64 old = 0;
                    void* const place = reinterpret_cast<void*>(regs.rdi);
                    std::memcpy(&old, place, one.size);
                    const auto effect = evaluate_store(one, regs, old);
                    const u64 value = effect.value & mask;
                    if (effect.writes)
                        std::memcpy(place, &value, one.size);
                    commit_store(one, regs, old, effect);
                }
                EXPECT_EQ(regs.rip, store->length) << testing::PrintToString(bytes);
                EXPECT_EQ(std::memcmp(memory, expected, sizeof memory), 0) << testing::PrintToString(bytes);
                EXPECT_EQ(regs.rcx, after.rcx) << testing::PrintToString(bytes);
                EXPECT_EQ(regs.rsi, after.rsi) << testing::PrintToString(bytes);
                EXPECT_EQ(regs.rdi - reinterpret_cast<u64>(memory), after.rdi - reinterpret_cast<u64>(expected));
                EXPECT_EQ(regs.rflags, 0x202u | (down ? 1 << 10 : 0));
            }
        }
    }
}

class StrayWrite : public MemoryTest {
protected:
    static constexpr u64 table_at = 3 * page_size; // where the guest maps its L1 read-only
    static constexpr u32 write_fault = 7;
    StrayWrite() {
        g = make_guest();
        as(g);
        t = build(g);
        data = g.frame();
        Guest::at(t.l1, 3) = entry::make(t.l1, ro);
        Guest::at(t.l1, 8) = entry::make(data, rw);
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
    }
    bool store(std::vector<u8> code, u64 address, u32 error_code = write_fault) {
        std::memcpy(m.window(fake::window_base, 16), code.data(), code.size());
        regs.rip = fake::window_base;
        return fix_page_fault(g.vcpu(), regs, address, error_code);
    }
    Guest g;
    Tables t;
    Mfn data;
    GuestRegs regs{};
};

TEST_F(StrayWrite, TakesWritingAwayAsForkDoes) {
    EXPECT_TRUE(store({0xf0, 0x80, 0x27, 0xfd}, table_at + 8 * 8)); // lock andb $~2,(%rdi)
    EXPECT_EQ(Guest::at(t.l1, 8), entry::make(data, rw) & ~entry::writable);
    EXPECT_EQ(regs.rip, fake::window_base + 4);
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(StrayWrite, ChecksWhatIsStored) {
    regs.rcx = entry::make(t.l2, rw);
    EXPECT_FALSE(store({0x48, 0x89, 0x0f}, table_at + 9 * 8));
    EXPECT_EQ(regs.rip, fake::window_base) << "the guest gets its fault at the store";
    EXPECT_EQ(Guest::at(t.l1, 9), 0u);
    regs.rcx = entry::make(data, rw);
    EXPECT_TRUE(store({0x48, 0x89, 0x0f}, table_at + 9 * 8));
    EXPECT_EQ(Guest::at(t.l1, 9), entry::make(data, rw));
    regs.rcx = 0x2; // a byte store into the middle of an entry that would make it another frame
    EXPECT_FALSE(store({0x88, 0x0f}, table_at + 9 * 8 + 4));
    EXPECT_FALSE(store({0x48, 0x89, 0x0f}, table_at + 9 * 8 + 4)) << "across two entries";
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(StrayWrite, LeavesOtherFaultsToTheGuest) {
    const std::vector<u8> mov = {0x48, 0x89, 0x0f};
    EXPECT_FALSE(store(mov, 4 * page_size));             // nothing mapped there
    EXPECT_FALSE(store(mov, table_at, 6));               // absent page
    EXPECT_FALSE(store(mov, table_at, write_fault | 8)); // reserved bits
    EXPECT_FALSE(store(mov, 0xffff800000000000));        // the hypervisor's
    EXPECT_FALSE(store({0x0f, 0x0b}, table_at));         // not a store
    g.vcpu().pv.in_kernel = false;
    EXPECT_FALSE(store(mov, table_at)) << "user mode never writes page tables";
    g.vcpu().pv.in_kernel = true;
    EXPECT_TRUE(store(mov, 8 * page_size)) << "allowed by now: try again";
    EXPECT_EQ(regs.rip, fake::window_base);
    destroy(g);
}

// memset and memcpy of a kernel to a table in force: one element for each fault, until rip moves on.
TEST_F(StrayWrite, StringStoresElementByElement) {
    const u64 value = entry::make(data, rw);
    regs.rax = value, regs.rcx = 3, regs.rdi = table_at + 20 * 8;
    for (u64 i = 0; i < 3; ++i) {
        EXPECT_EQ(regs.rcx, 3 - i);
        ASSERT_TRUE(store({0xf3, 0x48, 0xab}, table_at + (20 + i) * 8)); // rep stosq
        EXPECT_EQ(Guest::at(t.l1, 20 + static_cast<u32>(i)), value);
        EXPECT_EQ(regs.rip, fake::window_base + (i == 2 ? 3 : 0));
    }
    EXPECT_EQ(Guest::at(t.l1, 23), 0u);
    m.put(value, fake::window_base + 0x100);
    m.put(u64{0}, fake::window_base + 0x108);
    regs.rcx = 2, regs.rdi = table_at + 30 * 8, regs.rsi = fake::window_base + 0x100;
    ASSERT_TRUE(store({0xf3, 0x48, 0xa5}, table_at + 30 * 8)); // rep movsq
    ASSERT_TRUE(store({0xf3, 0x48, 0xa5}, table_at + 31 * 8));
    EXPECT_EQ(Guest::at(t.l1, 30), value);
    EXPECT_EQ(Guest::at(t.l1, 31), 0u);
    EXPECT_EQ(regs.rip, fake::window_base + 3);
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(StrayWrite, StringStoresAreJudgedLikeOthers) {
    regs.rax = entry::make(t.l2, rw), regs.rcx = 2, regs.rdi = table_at + 20 * 8;
    EXPECT_FALSE(store({0xf3, 0x48, 0xab}, table_at + 20 * 8)) << "a table mapped writable";
    EXPECT_EQ(regs.rip, fake::window_base);
    EXPECT_EQ(regs.rcx, 2u);
    regs.rax = 0;
    EXPECT_FALSE(store({0xf3, 0x48, 0xab}, table_at + 21 * 8)) << "the fault is not at the element's start";
    regs.rdi = table_at + 20 * 8 + 4;
    EXPECT_FALSE(store({0xf3, 0x48, 0xab}, table_at + 20 * 8 + 4)) << "across two entries";
    regs.rdi = table_at + 20 * 8;
    for (u64 source : {0xffff830000000000, u64{1} << 47, ~u64{0} - 3}) { // nothing that a guest may name
        regs.rsi = source;
        EXPECT_FALSE(store({0x48, 0xa5}, table_at + 20 * 8)) << std::hex << source;
    }
    regs.rsi = 0x5000; // not mapped by now: the processor is to find out
    EXPECT_TRUE(store({0x48, 0xa5}, table_at + 20 * 8));
    EXPECT_EQ(regs.rip, fake::window_base);
    EXPECT_EQ(regs.rdi, table_at + 20 * 8);
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(StrayWrite, ReadOnlyPagesThatAreNoTablesStayReadOnly) {
    ASSERT_TRUE(update_one(t.l1, 8, entry::make(data, ro)));
    EXPECT_FALSE(store({0x48, 0x89, 0x0f}, 8 * page_size));
    destroy(g);
}

} // namespace
} // namespace domus::test
