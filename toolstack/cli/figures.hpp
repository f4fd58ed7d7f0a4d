// A device's figures for people: what stands in its rings, and how fast it goes. Owner: verbs_figures.cpp. No lock.
// Pure.
#pragma once

#include "domus.pb.h"

#include <string>

namespace domus::cli {

/// Everything that is known of one device. With `before`, figures that count have their rate behind them.
std::string ring_text(const proto::DeviceView& now, const proto::DeviceView* before = nullptr);

/// What happened between two looks. Devices that are new, or whose server began anew, have no rates yet.
proto::DeviceStats rates(const proto::DeviceViews& before, const proto::DeviceViews& now);

/// One line for each device; '-' stands for what cannot be known.
std::string stats_text(const proto::DeviceStats& stats);

} // namespace domus::cli
