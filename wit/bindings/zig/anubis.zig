//! The contract of wit/lb.wit for Zig: `anubis.plugin(.{ .pick = pick })` exports what it
//! is given. What a call is given, and what `allocator` gives, is valid until the call
//! returns; what outlives it is yours to keep in variables.
const std = @import("std");
const wasm = @import("builtin").target.cpu.arch.isWasm();

/// A backend as it is now; the fields are explained in lb.wit.
pub const Backend = extern struct {
    id: u32 = 0,
    weight: u32 = 1,
    capacity: u32 = 0,
    priority: u32 = 0,
    zone: u32 = 0,
    in_flight: u32 = 0,
    latency_us: u32 = 0,
    failures: u32 = 0,
    utilization: u32 = 0,
    state: u32 = 0,
};

pub const Request = struct {
    key: u64 = 0,
    random: u64 = 0,
    sequence: u64 = 0,
    now_us: u64 = 0,
    generation: u32 = 0,
    attempt: u32 = 0,
};

/// What became of one attempt.
pub const Outcome = extern struct {
    tag: u64 = 0,
    id: u32 = 0,
    latency_us: u32 = 0,
    status: u32 = 0,
    failure: u32 = 0,
    attempt: u32 = 0,
};

/// What `pick` answers: an index of the list it was given, or why there is none.
pub const Choice = union(enum) { index: usize, fallback, wait, reject: u16 };

/// What `plan` answers; see `routing` in lb.wit.
pub const Routing = union(enum(u8)) {
    weights: []const u32,
    two_choices: []const u32,
    table: []const u32,
    order: []const u32,
};

/// Exports the functions given: `pick: fn (Request, []const Backend) Choice`,
/// `plan: fn ([]const Backend) Routing`, `configure: fn ([]const u8) ?[]const u8` (what is
/// wrong, or null), `observe: fn ([]const Outcome) void`, `save: fn () []const u8` and
/// `restore: fn ([]const u8) ?[]const u8`.
pub fn plugin(comptime functions: anytype) void {
    if (!wasm) return;
    const Given = @TypeOf(functions);
    const glue = Glue(functions);
    @export(&realloc, .{ .name = "cabi_realloc" });
    if (@hasField(Given, "pick")) @export(&glue.pick, .{ .name = "anubis:lb/strategy@0.1.0#pick" });
    if (@hasField(Given, "plan")) @export(&glue.plan, .{ .name = "anubis:lb/planner@0.1.0#plan" });
    if (@hasField(Given, "configure")) @export(&glue.configure, .{ .name = "anubis:lb/config@0.1.0#configure" });
    if (@hasField(Given, "observe")) @export(&glue.observe, .{ .name = "anubis:lb/feedback@0.1.0#observe" });
    if (@hasField(Given, "save")) @export(&glue.save, .{ .name = "anubis:lb/state@0.1.0#save" });
    if (@hasField(Given, "restore")) @export(&glue.restore, .{ .name = "anubis:lb/state@0.1.0#restore" });
}

var arena: std.heap.ArenaAllocator = .init(if (wasm) std.heap.wasm_allocator else std.heap.page_allocator);

/// Memory until the call returns.
pub fn allocator() std.mem.Allocator {
    return arena.allocator();
}

/// What was returned stays as it is until the next call is given something.
fn returned() void {
    _ = arena.reset(.retain_capacity);
}

fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(.c) ?[*]u8 {
    if (size <= old_size) return old orelse @ptrFromInt(alignment);
    const new = arena.allocator().rawAlloc(size, .fromByteUnits(alignment), @returnAddress()) orelse @trap();
    if (old) |from| @memcpy(new[0..old_size], from[0..old_size]);
    return new;
}

const Text = extern struct { data: ?[*]const u8 = null, length: usize = 0 };
const Result = extern struct { failed: u8 = 0, what: Text = .{} };

fn result(wrong: ?[]const u8) Result {
    const what = wrong orelse return .{};
    return .{ .failed = 1, .what = .{ .data = what.ptr, .length = what.len } };
}

fn Glue(comptime functions: anytype) type {
    return struct {
        var choice: extern struct { refused: u8, low: u16 align(4), high: u16 } = undefined;
        var routing: extern struct { kind: u8, numbers: [*]const u32, count: usize } = undefined;
        var configured: Result = .{};
        var restored: Result = .{};
        var saved: Text = .{};

        fn pick(key: u64, random: u64, sequence: u64, now_us: u64, generation: u32, attempt: u32, list: [*]const Backend, count: usize) callconv(.c) *const anyopaque {
            const request: Request = .{ .key = key, .random = random, .sequence = sequence, .now_us = now_us, .generation = generation, .attempt = attempt };
            choice = switch (functions.pick(request, list[0..count])) {
                .index => |index| .{ .refused = 0, .low = @truncate(index), .high = @truncate(index >> 16) },
                .fallback => .{ .refused = 1, .low = 0, .high = 0 },
                .wait => .{ .refused = 1, .low = 1, .high = 0 },
                .reject => |status| .{ .refused = 1, .low = 2, .high = status },
            };
            returned();
            return &choice;
        }

        fn plan(list: [*]const Backend, count: usize) callconv(.c) *const anyopaque {
            const answer: Routing = functions.plan(list[0..count]);
            const numbers = switch (answer) {
                inline else => |numbers| numbers,
            };
            routing = .{ .kind = @intFromEnum(answer), .numbers = numbers.ptr, .count = numbers.len };
            returned();
            return &routing;
        }

        fn configure(text: [*]const u8, length: usize) callconv(.c) *const Result {
            configured = result(functions.configure(text[0..length]));
            returned();
            return &configured;
        }

        fn observe(list: [*]const Outcome, count: usize) callconv(.c) void {
            functions.observe(list[0..count]);
            returned();
        }

        fn save() callconv(.c) *const Text {
            const bytes: []const u8 = functions.save();
            saved = .{ .data = bytes.ptr, .length = bytes.len };
            returned();
            return &saved;
        }

        fn restore(bytes: [*]const u8, length: usize) callconv(.c) *const Result {
            restored = result(functions.restore(bytes[0..length]));
            returned();
            return &restored;
        }
    };
}
