// A failure at one chosen step of work: every call into a fake counts as a step. Owner: the World. No lock.
#pragma once

#include <stdexcept>
#include <string>

namespace domus::engine::test {

class Faults {
public:
    /// The `number`th step from now fails (1: the next); later ones do not.
    void arm(unsigned number) {
        left_ = number;
        failed_.clear();
    }
    void disarm() { left_ = 0; }

    /// Counts one step; true if it is the one to fail.
    bool strikes(const std::string& what) {
        if (left_ == 0 || --left_ > 0)
            return false;
        failed_ = what;
        return true;
    }
    void step(const std::string& what) {
        if (strikes(what))
            throw std::runtime_error("injected failure of " + what);
    }

    /// What has been made to fail since arm(); empty: nothing yet.
    const std::string& failed() const { return failed_; }

private:
    unsigned left_ = 0;
    std::string failed_;
};

} // namespace domus::engine::test
