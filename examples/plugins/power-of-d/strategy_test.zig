//! Native: needs no WebAssembly.
const std = @import("std");
const anubis = @import("anubis");
const strategy = @import("strategy.zig");

const expect = std.testing.expect;

fn counts(backends: []const anubis.Backend) [4]usize {
    var counted: [4]usize = @splat(0);
    for (0..8_000) |i| {
        const random = @as(u64, i) *% 0x9e3779b97f4a7c15 >> 11;
        counted[strategy.pick(.{ .random = random }, backends).index] += 1;
    }
    return counted;
}

test "with as many choices as backends the least loaded is always picked" {
    try expect(strategy.configure("4") == null);
    const got = counts(&.{ .{ .in_flight = 2 }, .{ .in_flight = 1 }, .{ .in_flight = 3 }, .{ .in_flight = 2 } });
    try std.testing.expectEqual([4]usize{ 0, 8_000, 0, 0 }, got);
}

test "of two choices the busiest never wins" {
    try expect(strategy.configure("2") == null);
    const got = counts(&.{ .{ .in_flight = 9 }, .{ .in_flight = 1 }, .{ .in_flight = 1 }, .{} });
    try std.testing.expectEqual(0, got[0]);
    try expect(got[1] > 0 and got[2] > 0 and got[3] > 3_500);
}

test "idle backends are drawn by weight" {
    try expect(strategy.configure("2") == null);
    const got = counts(&.{ .{ .weight = 5 }, .{ .weight = 1 }, .{ .weight = 1 }, .{ .weight = 1 } });
    try expect(got[0] > 4_700 and got[0] < 5_300);
}

test "what is no number of choices is refused" {
    for ([_][]const u8{ "0", "17", "-1", "two", "\x00", "999999999999999999999999" }) |text| {
        try expect(strategy.configure(text) != null);
    }
    try expect(strategy.configure("") == null);
}

test "no number is too large" {
    const most = std.math.maxInt(u32);
    const huge: anubis.Backend = .{ .weight = most, .in_flight = most };
    _ = strategy.pick(.{ .random = std.math.maxInt(u64) }, &.{ huge, huge, huge });
    try expect(strategy.pick(.{}, &.{.{ .weight = 0 }}) == .fallback);
}
