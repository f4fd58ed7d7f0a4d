// Bytes of journal records. See record.hpp.
#include "xenstore-lite/tree/record.hpp"

#include <cstring>
#include <type_traits>

namespace domus::xenstore::tree {

namespace {
template <class T>
void put_number(std::string& bytes, T number) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

template <class T>
bool take_number(std::string_view& bytes, T& number) {
    if (bytes.size() < sizeof number) {
        return false;
    }
    std::memcpy(&number, bytes.data(), sizeof number);
    bytes.remove_prefix(sizeof number);
    return true;
}

void put_string(std::string& bytes, const std::string& text) {
    put_number(bytes, static_cast<std::uint32_t>(text.size()));
    bytes += text;
}

bool take_string(std::string_view& bytes, std::string& text) {
    std::uint32_t size = 0;
    if (!take_number(bytes, size) || bytes.size() < size) {
        return false;
    }
    text = bytes.substr(0, size);
    bytes.remove_prefix(size);
    return true;
}
} // namespace

void encode(const Record& record, std::string& bytes) {
    put_number(bytes, record.kind);
    put_number(bytes, record.id);
    put_number(bytes, record.a);
    put_number(bytes, record.b);
    put_string(bytes, record.path);
    put_string(bytes, record.text);
    put_number(bytes, static_cast<std::uint32_t>(record.permissions.size()));
    for (const auto& permission : record.permissions) {
        put_number(bytes, permission.domid);
        put_number(bytes, permission.access);
    }
}

std::optional<Record> decode(std::string_view& bytes) {
    Record record{};
    std::uint8_t kind = 0;
    std::uint32_t count = 0;
    if (!take_number(bytes, kind) || !take_number(bytes, record.id) || !take_number(bytes, record.a) ||
        !take_number(bytes, record.b) || !take_string(bytes, record.path) || !take_string(bytes, record.text) ||
        !take_number(bytes, count)) {
        return std::nullopt;
    }
    if (kind == 0 || kind > static_cast<std::uint8_t>(Record::Kind::last) || count > bytes.size() / 3) {
        return std::nullopt;
    }
    record.kind = static_cast<Record::Kind>(kind);
    record.permissions.resize(count);
    for (auto& permission : record.permissions) {
        if (!take_number(bytes, permission.domid) || !take_number(bytes, permission.access)) {
            return std::nullopt;
        }
    }
    return record;
}

} // namespace domus::xenstore::tree
