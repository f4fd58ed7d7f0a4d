// The fake machine's own state and its start. See machine.hpp.
#include "tests/fake/machine.hpp"

#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/sched.hpp"

#include <cstdlib>
#include <cstring>

namespace domus::fake {

Machine::Machine()
    : infos(ram_frames), ram_(static_cast<u8*>(std::aligned_alloc(page_size, ram_frames * page_size))),
      window_(window_size) {
    // What was never written must not look zero: code that relies on it is found out.
    std::memset(ram_, 0xa5, ram_frames * page_size);
}

namespace {

void start(Machine& m) {
    declare_device_frames(Mfn(0), Mfn(first_free_frame));
    add_free_frames(Mfn(first_free_frame), Mfn(ram_frames));
    sched_start();
    auto* idle_domain = new Domain(DomId(DOMID_IDLE));
    for (u32 i = 0; i < cpus; ++i) {
        auto* idle = new Vcpu(*idle_domain, VcpuId(i));
        m.turn(i);
        m.current(*idle);
        sched_add_idle(CpuId(i), *idle);
    }
    m.turn(0);
}

} // namespace

Machine& machine() {
    static Machine& one = *new Machine;
    static bool started = false;
    if (!started) {
        started = true;
        start(one);
    }
    return one;
}

void Machine::current(Vcpu& vcpu) {
    vcpus_[this_cpu_] = &vcpu;
    roots_[this_cpu_] = vcpu.pv.kernel_root;
    vcpu.processor.store(this_cpu_);
    vcpu.domain.dirty_cpus.fetch_or(arch::CpuMask{1} << this_cpu_);
}

u8* Machine::frame(Mfn mfn) {
    if (mfn.n >= ram_frames)
        throw std::out_of_range("the direct map has no frame " + std::to_string(mfn.n));
    return ram_ + mfn.n * page_size;
}

u8* Machine::window(u64 at, usize bytes) {
    if (at < window_base || bytes > window_size || at - window_base > window_size - bytes)
        return nullptr;
    return window_.data() + (at - window_base);
}

bool Machine::question() {
    return yield_every != 0 && ++questions_ % yield_every == 0;
}

} // namespace domus::fake
