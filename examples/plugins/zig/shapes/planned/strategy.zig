//! A plan instead of a call for each request: two weighted draws, by the weights and the
//! room that each backend has left.
const std = @import("std");
const anubis = @import("anubis");

const all = 10_000;
var reserve: u64 = 0; // room that counts as none, in 1/10000

/// The configuration is the reserve in percent, 0 to 90; empty: 0.
pub fn configure(text: []const u8) ?[]const u8 {
    const wrong = "the configuration is the room to leave, in percent: 0 to 90";
    const number = if (text.len == 0) 0 else std.fmt.parseInt(u64, text, 10) catch return wrong;
    if (number > 90) return wrong;
    reserve = number * all / 100;
    return null;
}

/// In 1/10000, by its capacity and by the load that it reports, whichever leaves less.
fn room(b: anubis.Backend) u64 {
    const taken = if (b.capacity == 0) 0 else @as(u64, b.in_flight) * all / b.capacity;
    return all -| (@max(taken, b.utilization) + reserve);
}

pub fn plan(backends: []const anubis.Backend) anubis.Routing {
    const weights = anubis.allocator().alloc(u32, backends.len) catch @panic("no memory");
    for (weights, backends) |*weight, b| {
        // A full one is asked last, and not never.
        weight.* = @intCast(@max(@min(b.weight, 65_535) * room(b) / 100, 1));
    }
    return .{ .two_choices = weights };
}

comptime {
    anubis.plugin(.{ .plan = plan, .configure = configure });
}

test {
    _ = @import("strategy_test.zig");
}
