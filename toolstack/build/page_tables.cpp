// See page_tables.hpp.
#include "toolstack/build/page_tables.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace domus::build {
namespace {

constexpr std::uint64_t present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40;
// A 64-bit PV kernel runs in ring 3, so every level carries the user bit.
constexpr std::uint64_t leaf = present | user | accessed;
constexpr std::uint64_t branch = present | writable | user | accessed | dirty;

/// Hands out the tables of one run, in order.
struct Pool {
    std::span<Table> memory;
    Run run;
    std::uint64_t used = 0;
};

/// A tree of tables under construction.
class Tree {
public:
    /// The root comes from the first pool.
    Tree(const Layout& layout, std::span<const std::uint64_t> frames, Pool& first, Pool& second)
        : layout_(layout), frames_(frames), pools_{&first, &second}, root_(take(first).table) {}

    /// Maps frames [run.first, run.end()) at `address`, with tables from `pool`.
    void map(std::uint64_t address, Run run, Pool& pool) {
        for (std::uint64_t done = 0; done < run.count;) {
            const std::uint64_t at = address + done * 4096;
            Table& l1 = *descend(at, pool);
            const std::uint64_t index = at >> 12 & 511;
            const std::uint64_t count = std::min<std::uint64_t>(512 - index, run.count - done);
            for (std::uint64_t i = 0; i < count; ++i) {
                const std::uint64_t pfn = run.first + done + i;
                const bool is_table = layout_.tables.contains(pfn) || layout_.p2m_tables.contains(pfn);
                l1[index + i] = frames_[pfn] << 12 | leaf | (is_table ? 0 : writable | dirty);
            }
            done += count;
        }
    }

private:
    struct Taken {
        Table* table;
        std::uint64_t machine_frame;
    };
    Taken take(Pool& pool) {
        assert(pool.used < pool.run.count); // lay_out() counted them
        Table* table = &pool.memory[pool.used];
        std::memset(table, 0, sizeof(Table));
        const std::uint64_t pfn = pool.run.first + pool.used++;
        return {table, frames_[pfn]};
    }

    /// The L1 table for `address`; makes what is missing on the way and remembers where the last walk ended.
    Table* descend(std::uint64_t address, Pool& pool) {
        Table* table = root_;
        for (int level = 0; level < 3; ++level) {
            const unsigned shift = 39 - 9 * level;
            std::uint64_t& entry = (*table)[address >> shift & 511];
            Walk& last = last_[level];
            if (entry == 0) {
                const Taken made = take(pool);
                entry = made.machine_frame << 12 | branch;
                last = {address >> shift, made.table};
            } else if (last.prefix != address >> shift || !last.table) {
                last = {address >> shift, find(entry >> 12 & 0xffffffffff)};
            }
            table = last.table;
        }
        return table;
    }

    /// Where a table made earlier is in our memory; rare: two ranges that share an upper table.
    Table* find(std::uint64_t machine_frame) const {
        for (const Pool* pool : pools_) {
            for (std::uint64_t i = 0; i < pool->used; ++i) {
                if (frames_[pool->run.first + i] == machine_frame) {
                    return &pool->memory[i];
                }
            }
        }
        assert(false);
        return nullptr;
    }

    struct Walk {
        std::uint64_t prefix = 0;
        Table* table = nullptr;
    };
    const Layout& layout_;
    std::span<const std::uint64_t> frames_;
    const Pool* pools_[2];
    Table* root_;
    Walk last_[3];
};

} // namespace

void fill_page_tables(const Layout& layout, std::span<const std::uint64_t> frames, std::span<Table> tables,
                      std::span<Table> p2m_tables) {
    Pool main{tables, layout.tables}, list{p2m_tables, layout.p2m_tables};
    Tree tree(layout, frames, main, list);
    tree.map(layout.virt_base, {0, layout.mapped}, main);
    if (layout.p2m_tables.count != 0) {
        tree.map(layout.p2m_address, layout.p2m, list);
    }
    for (Pool* pool : {&main, &list}) { // what was not needed must not hold another guest's old data
        while (pool->used < pool->run.count) {
            std::memset(&pool->memory[pool->used++], 0, sizeof(Table));
        }
    }
}

} // namespace domus::build
