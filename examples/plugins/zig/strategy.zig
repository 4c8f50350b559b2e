//! The backend with the shortest expected time to a response; equals take turns by weight.
const anubis = @import("anubis");

/// A latency below 20 ms counts as that much, as does none yet.
const default_latency_us = 20_000;

pub fn pick(request: anubis.Request, backends: []const anubis.Backend) anubis.Choice {
    var total: f64 = 0;
    for (backends) |b| total += @floatFromInt(b.weight);
    const mean_weight = total / @as(f64, @floatFromInt(backends.len));

    var random = request.random;
    var best: ?usize = null;
    var least: f64 = 0;
    var tied: u64 = 0; // weight of all that are as good as the best
    for (backends, 0..) |b, index| {
        const weight = @max(b.weight, 1);
        const load = @as(f64, @floatFromInt(b.in_flight)) * mean_weight / @as(f64, @floatFromInt(weight));
        const time = @as(f64, @floatFromInt(@max(b.latency_us, default_latency_us))) * (1 + load);
        if (best != null and time > least) continue;
        tied = if (best != null and time == least) tied + weight else weight;
        least = time;
        random = random *% 6364136223846793005 +% 1442695040888963407; // a draw for each tie
        if ((random >> 33) *% tied >> 31 < weight) best = index;
    }
    return if (best) |index| .{ .index = index } else .fallback;
}

comptime {
    anubis.plugin(.{ .pick = pick });
}

test {
    _ = @import("strategy_test.zig");
}
