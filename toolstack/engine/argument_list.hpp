// A program's words as exec(3) and posix_spawn(3) take them. No lock. Pure.
#pragma once

#include <string>
#include <vector>

namespace domus::engine {

/// Points into `words`, which must outlive it and stay as they are; a null pointer stands at the end.
inline std::vector<char*> argument_list(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const auto& word : words)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    return arguments;
}

} // namespace domus::engine
