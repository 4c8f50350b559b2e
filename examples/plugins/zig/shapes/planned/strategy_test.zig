//! Native: needs no WebAssembly.
const std = @import("std");
const anubis = @import("anubis");
const strategy = @import("strategy.zig");

fn weightOf(backend: anubis.Backend) u32 {
    return strategy.plan(&.{backend}).two_choices[0];
}

test "weights count, and so does the room that is left" {
    try std.testing.expectEqual(300, weightOf(.{ .weight = 3 }));
    try std.testing.expectEqual(150, weightOf(.{ .weight = 3, .capacity = 10, .in_flight = 5 }));
    try std.testing.expectEqual(75, weightOf(.{ .weight = 3, .utilization = 7_500 }));
}

test "a full one is asked last, and no number is too large" {
    const most = std.math.maxInt(u32);
    try std.testing.expectEqual(1, weightOf(.{ .weight = 9, .capacity = 1, .in_flight = most }));
    try std.testing.expectEqual(6_553_500, weightOf(.{ .weight = most }));
}

test "the configuration is a percentage" {
    try std.testing.expect(strategy.configure("91") != null and strategy.configure("x") != null);
    try std.testing.expect(strategy.configure("50") == null);
    try std.testing.expectEqual(150, weightOf(.{ .weight = 3 }));
    try std.testing.expect(strategy.configure("") == null);
}
