package main

// The canonical ABI of the contract in wit/lb.wit: what every plugin has. There is
// nothing to change here; what this plugin exports is in export.go.

import "unsafe"

// Backend as it is now; the fields are explained in lb.wit.
type Backend struct {
	ID, Weight, Capacity, Priority, Zone              uint32
	InFlight, LatencyUs, Failures, Utilization, State uint32
}

// Request is what every pick knows of the request.
type Request struct {
	Key, Random, Sequence, NowUs uint64
	Generation, Attempt          uint32
}

// What a call is given lies in one arena, which is empty again when the call returns.
var (
	arena = make([]uint64, 1024)
	used  uintptr
	kept  [][]uint64 // outgrown during this call, still in use
)

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size <= oldSize {
		return old
	}
	start := (used + uintptr(align) - 1) &^ (uintptr(align) - 1)
	if start+uintptr(size) > uintptr(len(arena))*8 {
		kept = append(kept, arena)
		arena = make([]uint64, max(2*len(arena), int(size)/8+2))
		start = 0
	}
	used = start + uintptr(size)
	place := unsafe.Add(unsafe.Pointer(unsafe.SliceData(arena)), start)
	copy(unsafe.Slice((*byte)(place), oldSize), unsafe.Slice((*byte)(old), oldSize))
	return place
}

func returned() { used, kept = 0, nil }

func main() {}
