//! Learns what each backend's answers take, failures included, and picks the shortest
//! expected time; equals take turns by weight, and one request in 50 explores.
const std = @import("std");
const anubis = @import("anubis");

const slots = 1024;
const default_latency_us = 20_000;
const failed_us = 1_000_000;
const explore = 50;

/// Averages by backend id; of two ids that meet in one slot the later one is known.
const Average = extern struct { id: u32 = 0, latency_us: u32 = 0 };
pub var known: [slots]Average = @splat(.{});
var percent: u64 = 10; // part of a new answer in the average

pub fn configure(text: []const u8) ?[]const u8 {
    const wrong = "the configuration is the part of a new answer in the average: 1 to 100 (percent)";
    const number = if (text.len == 0) 10 else std.fmt.parseInt(u64, text, 10) catch return wrong;
    if (number < 1 or number > 100) return wrong;
    percent = number;
    return null;
}

pub fn observe(outcomes: []const anubis.Outcome) void {
    for (outcomes) |o| {
        if (o.failure == 5) continue; // the client left: that says nothing of the backend
        const failed = o.failure != 0 or o.status >= 500;
        const took: u64 = if (failed) @max(o.latency_us, failed_us) else o.latency_us;
        const a = &known[o.id % slots];
        const before = if (a.id == o.id and a.latency_us > 0) a.latency_us else took;
        a.* = .{ .id = o.id, .latency_us = @intCast((before * (100 - percent) + took * percent) / 100) };
    }
}

fn latencyOf(id: u32) f64 {
    const a = known[id % slots];
    return @floatFromInt(if (a.id == id) @max(a.latency_us, default_latency_us) else default_latency_us);
}

pub fn pick(request: anubis.Request, backends: []const anubis.Backend) anubis.Choice {
    var total: f64 = 0;
    for (backends) |b| total += @floatFromInt(b.weight);
    const mean_weight = total / @as(f64, @floatFromInt(backends.len));

    var random = request.random;
    const exploring = random % explore == 0;
    var best: ?usize = null;
    var least: f64 = 0;
    var tied: u64 = 0; // weight of all that are as good as the best
    for (backends, 0..) |b, index| {
        const weight = @max(b.weight, 1);
        const load = @as(f64, @floatFromInt(b.in_flight)) * mean_weight / @as(f64, @floatFromInt(weight));
        const time = if (exploring) 0 else latencyOf(b.id) * (1 + load);
        if (best != null and time > least) continue;
        tied = if (best != null and time == least) tied + weight else weight;
        least = time;
        random = random *% 6364136223846793005 +% 1442695040888963407; // a draw for each tie
        if ((random >> 33) *% tied >> 31 < weight) best = index;
    }
    return if (best) |index| .{ .index = index } else .fallback;
}

var saved: [slots]Average = undefined;

/// What a successor needs: every average that there is.
pub fn save() []const u8 {
    var count: usize = 0;
    for (known) |a| {
        if (a.latency_us == 0) continue;
        saved[count] = a;
        count += 1;
    }
    return std.mem.sliceAsBytes(saved[0..count]);
}

pub fn restore(bytes: []const u8) ?[]const u8 {
    const wrong = "not what this strategy saves";
    if (bytes.len % @sizeOf(Average) != 0 or bytes.len > @sizeOf(@TypeOf(known))) return wrong;
    var read: [slots]Average = undefined;
    const averages = read[0 .. bytes.len / @sizeOf(Average)];
    @memcpy(std.mem.sliceAsBytes(averages), bytes);
    for (averages, 0..) |a, index| { // in the order of their slots, none twice
        if (a.latency_us == 0) return wrong;
        if (index > 0 and averages[index - 1].id % slots >= a.id % slots) return wrong;
    }
    for (averages) |a| known[a.id % slots] = a;
    return null;
}

comptime {
    anubis.plugin(.{ .pick = pick, .configure = configure, .observe = observe, .save = save, .restore = restore });
}

test {
    _ = @import("strategy_test.zig");
}
