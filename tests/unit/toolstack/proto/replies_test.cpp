// Every answer of domusd as JSON: nothing is lost, and every field stands there even when it is zero.
#include "toolstack/proto/json.hpp"

#include "domus.pb.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

namespace domus::proto {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

/// Sets every field to something that is not its default; `seed` makes texts and numbers differ.
void fill(Message& message, unsigned& seed) {
    const auto* reflection = message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
        const FieldDescriptor* field = message.GetDescriptor()->field(i);
        const unsigned value = ++seed;
        const bool many = field->is_repeated();
        switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING: {
            const std::string text = "t\"\n\xc3\xa9" + std::to_string(value);
            many ? reflection->AddString(&message, field, text) : reflection->SetString(&message, field, text);
            break;
        }
        case FieldDescriptor::CPPTYPE_UINT32:
            many ? reflection->AddUInt32(&message, field, ~value) : reflection->SetUInt32(&message, field, ~value);
            break;
        case FieldDescriptor::CPPTYPE_UINT64: // beyond what a double holds
            many ? reflection->AddUInt64(&message, field, ~0ull - value)
                 : reflection->SetUInt64(&message, field, ~0ull - value);
            break;
        case FieldDescriptor::CPPTYPE_BOOL:
            reflection->SetBool(&message, field, true);
            break;
        case FieldDescriptor::CPPTYPE_DOUBLE:
            reflection->SetDouble(&message, field, 0.125 + value);
            break;
        case FieldDescriptor::CPPTYPE_MESSAGE:
            fill(many ? *reflection->AddMessage(&message, field) : *reflection->MutableMessage(&message, field), seed);
            break;
        default:
            FAIL() << field->full_name() << " is of a kind this test does not know";
        }
    }
}

/// One message of each kind that a verb prints.
std::vector<std::unique_ptr<Message>> replies() {
    std::vector<std::unique_ptr<Message>> all;
    const auto* answers = Response::descriptor();
    for (int i = 0; i < answers->field_count(); ++i)
        all.emplace_back(google::protobuf::MessageFactory::generated_factory()
                             ->GetPrototype(answers->field(i)->message_type())
                             ->New());
    all.push_back(std::make_unique<ConfigCheck>());
    all.push_back(std::make_unique<DomainRecord>());
    return all;
}

TEST(Replies, NothingIsLostInJson) {
    unsigned seed = 0;
    for (const auto& message : replies()) {
        fill(*message, seed);
        const std::unique_ptr<Message> read(message->New());
        from_json(to_json(*message), *read);
        EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*message, *read)) << to_json(*message);
    }
    EXPECT_GT(seed, 100u);
}

TEST(Replies, FieldsAtTheirDefaultAreThere) {
    for (const auto& message : replies()) {
        const std::string json = to_json(*message);
        for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
            const FieldDescriptor* field = message->GetDescriptor()->field(i);
            const bool may_be_absent = field->has_presence(); // a message, or marked optional: absence says something
            EXPECT_EQ(json.find('"' + field->name() + '"') == std::string::npos, may_be_absent)
                << field->full_name() << " in " << json;
        }
    }
}

} // namespace
} // namespace domus::proto
