//! Native: needs no WebAssembly.
const std = @import("std");
const anubis = @import("anubis");
const strategy = @import("strategy.zig");

const expect = std.testing.expect;
const two = [_]anubis.Backend{ .{ .id = 1 }, .{ .id = 2 } };

fn forget() void {
    strategy.known = @splat(.{});
}

test "who was slow or failed is avoided" {
    forget();
    strategy.observe(&.{.{ .id = 1, .latency_us = 90_000, .status = 200 }});
    try std.testing.expectEqual(1, strategy.pick(.{ .random = 1 }, &two).index);
    strategy.observe(&.{.{ .id = 2, .latency_us = 100, .failure = 1 }});
    try std.testing.expectEqual(0, strategy.pick(.{ .random = 1 }, &two).index);
}

test "averages survive a swap, and other bytes are refused" {
    forget();
    for (0..2_000) |id| strategy.observe(&.{.{ .id = @intCast(id), .latency_us = 30_000, .status = 200 }});
    const before = strategy.known;
    const bytes = strategy.save();
    forget();
    try expect(strategy.restore(bytes) == null);
    try std.testing.expectEqualSlices(u8, std.mem.asBytes(&before), std.mem.asBytes(&strategy.known));
    try expect(strategy.restore("abc") != null);
    try expect(strategy.restore(&@as([8]u8, @splat(0))) != null);
    try expect(strategy.restore(&@as([16]u8, @splat(1))) != null);
}

test "the configuration is a percentage" {
    try expect(strategy.configure("100") == null and strategy.configure("") == null);
    for ([_][]const u8{ "0", "101", "x", "99999999999999999999999" }) |text| {
        try expect(strategy.configure(text) != null);
    }
}
