//! The least loaded of d backends drawn at random. More choices even the load out
//! further, fewer herd less on old numbers; d = 2 is the usual two choices.
const std = @import("std");
const anubis = @import("anubis");

const most_choices = 16;
var choices: usize = 3;

/// The configuration is d itself, 1 to 16; empty: 3.
pub fn configure(text: []const u8) ?[]const u8 {
    const wrong = "the configuration is how many backends are drawn: a number from 1 to 16";
    if (text.len == 0) return null;
    const given = std.fmt.parseInt(usize, text, 10) catch return wrong;
    if (given < 1 or given > most_choices) return wrong;
    choices = given;
    return null;
}

pub fn pick(request: anubis.Request, backends: []const anubis.Backend) anubis.Choice {
    var total: u64 = 0;
    for (backends) |b| total += b.weight;
    if (total == 0) return .fallback;

    // Draws by weight, each in what the drawn before it have left.
    var random = request.random;
    var drawn: [most_choices]usize = undefined;
    var best: usize = 0;
    for (0..@min(choices, backends.len)) |draw| {
        if (total == 0) break;
        random = random *% 6364136223846793005 +% 1442695040888963407;
        var point: u64 = @intCast(@as(u128, random) * total >> 64);
        for (backends, 0..) |b, index| {
            if (std.mem.indexOfScalar(usize, drawn[0..draw], index) != null) continue;
            if (point < b.weight) {
                drawn[draw] = index;
                total -= b.weight;
                if (draw == 0 or less(b, backends[best])) best = index;
                break;
            }
            point -= b.weight;
        }
    }
    return .{ .index = best };
}

/// Whether `a` has fewer requests for its weight.
fn less(a: anubis.Backend, b: anubis.Backend) bool {
    return @as(u64, a.in_flight) * b.weight < @as(u64, b.in_flight) * a.weight;
}

comptime {
    anubis.plugin(.{ .pick = pick, .configure = configure });
}

test {
    _ = @import("strategy_test.zig");
}
