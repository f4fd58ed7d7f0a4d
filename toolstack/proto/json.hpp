// protobuf's JSON mapping, the one way messages become text. Owner: command line and state directory. No lock.
#pragma once

#include <google/protobuf/message.h>
#include <string>

namespace domus::proto {

/// The message as indented JSON with the field names of domus.proto; fields at their default are printed too, so
/// that a reader need not know the schema.
std::string to_json(const google::protobuf::Message& message);

/// Fills `message` from JSON. Throws std::runtime_error naming what is wrong. Unknown fields are ignored, so that
/// an older daemon reads a newer one's state.
void from_json(const std::string& text, google::protobuf::Message& message);

} // namespace domus::proto
