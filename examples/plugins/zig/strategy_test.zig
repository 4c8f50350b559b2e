//! Native: needs no WebAssembly.
const std = @import("std");
const anubis = @import("anubis");
const pick = @import("strategy.zig").pick;

fn picked(request: anubis.Request, backends: []const anubis.Backend) usize {
    return pick(request, backends).index;
}

test "the quickest is picked" {
    try std.testing.expectEqual(1, picked(.{}, &.{ .{ .latency_us = 90_000 }, .{ .latency_us = 30_000 } }));
}

test "who is busy takes longer" {
    try std.testing.expectEqual(1, picked(.{}, &.{ .{ .in_flight = 3 }, .{} }));
}

test "equals take turns by weight" {
    var first: usize = 0;
    for (0..4_000) |i| {
        const random = @as(u64, i) *% 0x9e3779b97f4a7c15 >> 11;
        if (picked(.{ .random = random }, &.{ .{ .weight = 3 }, .{} }) == 0) first += 1;
    }
    try std.testing.expect(2_900 < first and first < 3_100);
}

test "no number is too large" {
    const most = std.math.maxInt(u32);
    const huge: anubis.Backend = .{ .weight = most, .in_flight = most, .latency_us = most };
    try std.testing.expectEqual(1, picked(.{ .random = std.math.maxInt(u64) }, &.{ huge, .{ .weight = 0 }, huge }));
}
