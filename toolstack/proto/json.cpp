// protobuf's JSON mapping. No lock. Pure.
#include "toolstack/proto/json.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <stdexcept>

namespace domus::proto {

std::string to_json(const google::protobuf::Message& message) {
    google::protobuf::util::JsonPrintOptions options;
    options.add_whitespace = true;
    options.always_print_primitive_fields = true;
    options.preserve_proto_field_names = true;
    std::string out;
    const auto status = google::protobuf::util::MessageToJsonString(message, &out, options);
    if (!status.ok())
        throw std::runtime_error(
            fmt::format("cannot write a {} as JSON: {}", message.GetTypeName(), status.ToString()));
    return out;
}

void from_json(const std::string& text, google::protobuf::Message& message) {
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status = google::protobuf::util::JsonStringToMessage(text, &message, options);
    if (!status.ok())
        throw std::runtime_error(fmt::format("this is not a {} in JSON: {}", message.GetTypeName(), status.ToString()));
}

} // namespace domus::proto
