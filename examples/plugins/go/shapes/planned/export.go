package main

// Exports Plan and Configure. There is nothing to change here.

import "unsafe"

// Kind says how the proxy routes by the numbers of a plan; see routing in lb.wit.
type Kind uint8

const (
	Weights Kind = iota
	TwoChoices
	Table
	Order
)

// Addresses are 32 bits wide, where Go's own pointers have 64.
var (
	routing struct {
		kind           Kind
		numbers, count uint32
	}
	configured struct {
		failed       uint8
		text, length uint32
	}
	planned []uint32 // kept while the proxy reads it
	wrong   string
)

//go:wasmexport anubis:lb/planner@0.1.0#plan
func exportedPlan(backends unsafe.Pointer, count uint32) unsafe.Pointer {
	routing.kind, planned = Plan(unsafe.Slice((*Backend)(backends), count))
	routing.numbers = uint32(uintptr(unsafe.Pointer(unsafe.SliceData(planned))))
	routing.count = uint32(len(planned))
	returned()
	return unsafe.Pointer(&routing)
}

//go:wasmexport anubis:lb/config@0.1.0#configure
func exportedConfigure(text unsafe.Pointer, length uint32) unsafe.Pointer {
	configured.failed = 0
	if err := Configure(string(unsafe.Slice((*byte)(text), length))); err != nil {
		wrong = err.Error()
		configured.failed = 1
		configured.text, configured.length = uint32(uintptr(unsafe.Pointer(unsafe.StringData(wrong)))), uint32(len(wrong))
	}
	returned()
	return unsafe.Pointer(&configured)
}
